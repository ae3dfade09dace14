# The gate in an image of its own: one static program, no shell, no Git, no root.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /commitgate ./cmd/commitgate

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /commitgate /commitgate
# What must outlive a restart: mirrors with the last verified revision, the audit log, the certificate authority.
VOLUME /var/lib/commitgate
# Reviews of the API server (TLS); health and metrics.
EXPOSE 10250 8080
ENTRYPOINT ["/commitgate"]
CMD ["serve", "--config", "/etc/commitgate"]
