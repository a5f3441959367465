package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxDownloadBytes bounds one file; the largest known has 170 MB.
	maxDownloadBytes = 1 << 30
	// downloadTries is how often a transfer that broke off is taken up again.
	downloadTries = 4
)

// download fetches the source's files into dir. Each grows under the name
// FILE.part and takes its own name when it is whole.
func (f fetcher) download(ctx context.Context, src Source, dir string, say func(done, total int64)) error {
	client := &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: f.connect}).DialContext,
		TLSHandshakeTimeout:   f.connect,
		ResponseHeaderTimeout: f.connect,
		ForceAttemptHTTP2:     true,
	}}
	defer client.CloseIdleConnections()
	before := int64(0)
	for _, name := range src.Files {
		file := filepath.Join(dir, path.Base(name))
		tell := func(done, total int64) {
			if len(src.Files) > 1 {
				total = src.Bytes
			}
			say(before+done, total)
		}
		if err := f.downloadFile(ctx, client, src.Locator+name, file, tell); err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		before += info.Size()
		if src.SHA256 != "" && len(src.Files) == 1 {
			if err := checkFile(file, src.SHA256); err != nil {
				os.Remove(file)
				return err
			}
		}
	}
	return nil
}

func (f fetcher) downloadFile(ctx context.Context, client *http.Client, url, file string, say func(done, total int64)) error {
	if _, err := os.Stat(file); err == nil {
		return nil // whole since an earlier call
	}
	part, err := os.OpenFile(file+".part", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer part.Close()
	for try := 1; ; try++ {
		before, err := part.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		err = f.transfer(ctx, client, url, part, say)
		if err == nil {
			break
		}
		after, serr := part.Seek(0, io.SeekEnd)
		var local *fs.PathError
		if serr != nil || after <= before || try == downloadTries || ctx.Err() != nil || errors.As(err, &local) {
			if serr == nil && after == 0 {
				part.Close()
				os.Remove(file + ".part")
			}
			return fmt.Errorf("data: %s: %w", url, err)
		}
	}
	if err := part.Sync(); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if err := part.Close(); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if err := os.Rename(file+".part", file); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// errStall is the cause of a transfer that was given up.
var errStall = errors.New("the transfer stood still")

// transfer asks for what part still lacks and appends it.
func (f fetcher) transfer(ctx context.Context, client *http.Client, url string, part *os.File, say func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	resp, err := ask(ctx, client, url, have)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	total := have + resp.ContentLength
	if resp.StatusCode == http.StatusOK { // the server begins anew
		have, total = 0, resp.ContentLength
		if err := part.Truncate(0); err != nil {
			return err
		}
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if resp.ContentLength < 0 {
		total = 0 // unknown
	}
	if total > maxDownloadBytes {
		return fmt.Errorf("%d bytes, want at most %d", total, maxDownloadBytes)
	}
	watch := time.AfterFunc(f.stall, func() { cancel(errStall) })
	defer watch.Stop()
	buf, told := make([]byte, 1<<18), time.Time{}
	for {
		n, err := resp.Body.Read(buf)
		watch.Reset(f.stall)
		if _, werr := part.Write(buf[:n]); werr != nil {
			return werr
		}
		have += int64(n)
		if have > maxDownloadBytes {
			return fmt.Errorf("more than %d bytes", maxDownloadBytes)
		}
		if err == io.EOF {
			say(have, total)
			return nil
		}
		if err != nil {
			if context.Cause(ctx) == errStall {
				err = fmt.Errorf("%w for %v after %d of %d bytes", errStall, f.stall, have, total)
			}
			return err
		}
		if time.Since(told) > 100*time.Millisecond {
			told = time.Now()
			say(have, total)
		}
	}
}

// ask requests the bytes from `have` on. The answer is 200 (all of it) or 206
// (from there); a server that refuses the range is asked for all of it.
func ask(ctx context.Context, client *http.Client, url string, have int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// The bytes themselves: offsets of a compressed transfer mean nothing.
	req.Header.Set("Accept-Encoding", "identity")
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := client.Do(req)
	if err != nil {
		var in *neturl.Error // says the address again
		if errors.As(err, &in) {
			err = in.Err
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK ||
		resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
		return resp, nil
	}
	resp.Body.Close()
	if have > 0 && (resp.StatusCode == http.StatusRequestedRangeNotSatisfiable || resp.StatusCode == http.StatusPartialContent) {
		return ask(ctx, client, url, 0)
	}
	return nil, fmt.Errorf("the server answers %s, want 200 OK", resp.Status)
}

// checkFile compares a file's checksum.
func checkFile(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("data: %s has sha256 %s, want %s", filepath.Base(file), got, want)
	}
	return nil
}
