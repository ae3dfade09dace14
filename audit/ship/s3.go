package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/audit/seal"
)

// S3 is a bucket of an object store that speaks the S3 API. Each batch is an object that nobody replaces:
//
//	PREFIX/ORIGIN/SHARD/SEGMENT.jsonl/FIRST-LAST
//	PREFIX/ORIGIN/SHARD/checkpoints/SIZE
//
// so that the objects below a SEGMENT.jsonl, one after the other, are that file of the log.
type S3 struct {
	client *minio.Client
	bucket string
	prefix string
	lock   time.Duration
	now    func() time.Time
	// kept tells until when exhibits are locked, by key, as far as it was asked for.
	kept map[string]time.Time
}

// exhibitMargin is how much longer exhibits are locked than records. A record that comes later may name an exhibit that is old: its lock is
// extended when half of the margin is gone, and not with each batch.
const exhibitMargin = 14 * 24 * time.Hour

// NewS3 opens s3://BUCKET/PREFIX?endpoint=HOST[:PORT]&region=…&lock=9600h&insecure=true. Credentials come from the environment
// (AWS_ACCESS_KEY_ID …), a credentials file, or the instance or pod. With lock, each object is kept under Object Lock in compliance mode for
// that long: nobody can remove it, the account's owner included; the bucket must have Object Lock. Exhibits are kept for as long as the last
// record that may name them. An S3 is for one goroutine.
func NewS3(u *url.URL) (*S3, error) { return newS3(u, nil) }

func newS3(u *url.URL, transport http.RoundTripper) (*S3, error) {
	q := u.Query()
	endpoint := q.Get("endpoint")
	if endpoint == "" {
		endpoint = "s3.amazonaws.com"
	}
	s := &S3{bucket: u.Host, prefix: strings.Trim(u.Path, "/"), now: time.Now, kept: map[string]time.Time{}}
	if s.bucket == "" {
		return nil, errors.New("s3: no bucket")
	}
	var err error
	if l := q.Get("lock"); l != "" {
		if s.lock, err = time.ParseDuration(l); err != nil || s.lock <= 0 {
			return nil, fmt.Errorf("s3: lock=%s: want a duration, such as 9600h", l)
		}
	}
	insecure := q.Get("insecure") == "true"
	s.client, err = minio.New(endpoint, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: 10 * time.Second}},
		}),
		Secure: !insecure, Region: q.Get("region"), Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return s, nil
}

// folder is where the objects of a log lie.
func (s *S3) folder(origin string) string { return path.Join(s.prefix, origin) + "/" }

// Last implements Destination. Names sort by number, so the last name of the last segment of the last shard says it.
func (s *S3) Last(ctx context.Context, origin string) (uint64, error) {
	folder := s.folder(origin)
	for range 2 { // shard, segment
		last := ""
		for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: folder}) {
			if o.Err != nil {
				return 0, o.Err
			}
			if strings.HasSuffix(o.Key, "/") && !strings.HasSuffix(o.Key, "/checkpoints/") && o.Key != s.exhibits(origin) {
				last = max(last, o.Key)
			}
		}
		if last == "" {
			return 0, nil
		}
		folder = last
	}
	seq := uint64(0)
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: folder}) {
		if o.Err != nil {
			return 0, o.Err
		}
		_, last, _ := strings.Cut(path.Base(o.Key), "-")
		n, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("s3: %q is not of an audit log", o.Key)
		}
		seq = max(seq, n)
	}
	return seq, nil
}

// Put implements Destination.
func (s *S3) Put(ctx context.Context, b Batch) error {
	return s.put(ctx, s.lock, fmt.Sprintf("%s%s/%020d.jsonl/%020d-%020d", s.folder(b.Origin), b.Shard, b.Segment, b.First, b.Last), b.Lines, "application/x-ndjson")
}

// PutCheckpoint implements Destination.
func (s *S3) PutCheckpoint(ctx context.Context, origin, shard string, cp *seal.Checkpoint) error {
	return s.put(ctx, s.lock, fmt.Sprintf("%s%s/checkpoints/%020d", s.folder(origin), shard, cp.Size), cp.Note, "text/plain; charset=utf-8")
}

// exhibits is where the exhibits of a log lie.
func (s *S3) exhibits(origin string) string { return s.folder(origin) + exhibit.Folder + "/" }

// Exhibits implements Destination.
func (s *S3) Exhibits(ctx context.Context, origin string) (map[string]bool, error) {
	there := map[string]bool{}
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.exhibits(origin)}) {
		if o.Err != nil {
			return nil, o.Err
		}
		there[path.Base(o.Key)] = true
	}
	return there, nil
}

// PutExhibit implements Destination.
func (s *S3) PutExhibit(ctx context.Context, origin, name string, content []byte) error {
	return s.put(ctx, s.lock+exhibitMargin, s.exhibits(origin)+name, content, "application/octet-stream")
}

// KeepExhibits implements Destination. It extends locks that would end before that of a record which is put now.
func (s *S3) KeepExhibits(ctx context.Context, origin string, names []string) error {
	if s.lock == 0 {
		return nil
	}
	now, compliance := s.now(), minio.Compliance
	for _, name := range names {
		key := s.exhibits(origin) + name
		if s.kept[key].After(now.Add(s.lock + exhibitMargin/2)) {
			continue
		}
		until := now.Add(s.lock + exhibitMargin).UTC().Truncate(time.Second)
		err := s.client.PutObjectRetention(ctx, s.bucket, key, minio.PutObjectRetentionOptions{Mode: &compliance, RetainUntilDate: &until})
		if err != nil { // nobody can shorten a lock: perhaps it is longer than that
			_, there, asked := s.client.GetObjectRetention(ctx, s.bucket, key, "")
			if asked != nil || there == nil || there.Before(until) {
				return fmt.Errorf("s3: keep %s: %w", key, err)
			}
			until = *there
		}
		s.kept[key] = until
	}
	return nil
}

// put stores an object that must not be there yet; one that is there is of an earlier attempt. It is locked for a time, if objects are.
func (s *S3) put(ctx context.Context, lock time.Duration, key string, content []byte, kind string) error {
	o := minio.PutObjectOptions{ContentType: kind, SendContentMd5: true}
	o.SetMatchETagExcept("*") // If-None-Match: *
	if s.lock > 0 {
		o.Mode, o.RetainUntilDate = minio.Compliance, s.now().Add(lock).UTC()
	}
	_, err := s.client.PutObject(ctx, s.bucket, key, bytes.NewReader(content), int64(len(content)), o)
	if minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed {
		return nil
	}
	return err
}

// Close implements Destination.
func (s *S3) Close() error { return nil }
