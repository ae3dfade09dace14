# The gate in an image of its own: one static program, no shell, no Git, no root. For several architectures at once:
# docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v1.2.3 --sbom=true --provenance=true .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The same flags as in the Makefile (make reproduce).
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.release=$VERSION" -o /commitgate ./cmd/commitgate

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /commitgate /commitgate
# What must outlive a restart: mirrors with the last verified revision, the audit log, the certificate authority.
VOLUME /var/lib/commitgate
# Reviews of the API server (TLS); health and metrics.
EXPOSE 10250 8080
ENTRYPOINT ["/commitgate"]
CMD ["serve", "--config", "/etc/commitgate"]
