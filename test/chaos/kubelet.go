package chaos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runKubelet brings changes of ConfigMaps and Secrets to the replicas, until close.
func (in *installation) runKubelet(set *appsv1.StatefulSet) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	in.kubelet = func() { cancel(); <-done }
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = in.volumes(ctx, set) // an API server that does not answer is asked again
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
}

// volumes writes the ConfigMaps and Secrets that the pods mount to the folders that stand for their mounts.
func (in *installation) volumes(ctx context.Context, set *appsv1.StatefulSet) error {
	for _, v := range set.Spec.Template.Spec.Volumes {
		dir := in.volume(v.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		files, err := in.contents(ctx, v)
		if err != nil {
			return err
		}
		if err := mirror(dir, files); err != nil {
			return err
		}
	}
	return nil
}

// contents are the files of a volume.
func (in *installation) contents(ctx context.Context, v corev1.Volume) (map[string][]byte, error) {
	files := map[string][]byte{}
	configMap := func(name string, optional *bool) error {
		o, err := in.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) && optional != nil && *optional {
			return nil
		}
		if err != nil {
			return err
		}
		for key, text := range o.Data {
			files[key] = []byte(text)
		}
		return nil
	}
	switch {
	case v.ConfigMap != nil:
		return files, configMap(v.ConfigMap.Name, v.ConfigMap.Optional)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			if err := configMap(source.ConfigMap.Name, source.ConfigMap.Optional); err != nil {
				return nil, err
			}
		}
	case v.Secret != nil:
		o, err := in.client.CoreV1().Secrets(namespace).Get(ctx, v.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		for _, item := range v.Secret.Items {
			files[item.Path] = o.Data[item.Key]
		}
	}
	return files, nil
}

// mirror makes a folder hold these files and no others.
func mirror(dir string, files map[string][]byte) error {
	var errs []error
	for name, data := range files {
		errs = append(errs, replace(filepath.Join(dir, name), data))
	}
	entries, err := os.ReadDir(dir)
	errs = append(errs, err)
	for _, e := range entries {
		if _, wanted := files[e.Name()]; !wanted && !strings.HasSuffix(e.Name(), unfinished) {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (in *installation) volume(name string) string { return filepath.Join(in.dir, "volumes", name) }

// unfinished ends the name of a file that is being written: nobody reads that.
const unfinished = ".unfinished"

// replace writes a file whole, if it does not hold that already.
func replace(file string, data []byte) error {
	if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := os.WriteFile(file+unfinished, data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+unfinished, file)
}
