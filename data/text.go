package data

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Document is a text that stands by itself: a language model's window should
// not look from one into another.
type Document struct {
	Name string // the path inside the folder, or the file's name
	Text string
}

// TextConfig says what ReadDocuments takes.
type TextConfig struct {
	// Extensions are the endings of the files taken out of a folder; none for
	// .txt, .md and .text.
	Extensions []string
	// Separator, if not "", cuts each file into documents, such as
	// "<|endoftext|>" in TinyStories.
	Separator string
	// MaxBytes bounds the text as a whole: files after it are left out, in the
	// order of their paths, and a file that alone is larger is an error. 0 for
	// 1 GiB.
	MaxBytes int64
}

const (
	defaultTextBytes = 1 << 30
	maxTextFiles     = 1 << 20
)

// ReadDocuments reads a text file, or all files of a folder and the folders in
// it with the wanted endings, in the order of their paths. Links and hidden
// folders are not followed. Text need not be valid UTF-8. It fails if there is
// nothing to read.
func ReadDocuments(path string, c TextConfig) ([]Document, error) {
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultTextBytes
	}
	if len(c.Extensions) == 0 {
		c.Extensions = []string{".txt", ".md", ".text"}
	}
	files, err := textFiles(path, c.Extensions)
	if err != nil {
		return nil, err
	}
	var docs []Document
	total := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, fmt.Errorf("data: text: %w", err)
		}
		if info.Size() > c.MaxBytes {
			return nil, fmt.Errorf("data: text: %s: %d bytes, want at most %d", f, info.Size(), c.MaxBytes)
		}
		if total += info.Size(); total > c.MaxBytes {
			break
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("data: text: %w", err)
		}
		name, err := filepath.Rel(path, f)
		if err != nil || name == "." {
			name = filepath.Base(f)
		}
		docs = appendDocuments(docs, filepath.ToSlash(name), string(b), c.Separator)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("data: text: %s has no text in files that end in %s", path, strings.Join(c.Extensions, ", "))
	}
	return docs, nil
}

// appendDocuments cuts a file; parts of white space alone are left out.
func appendDocuments(docs []Document, name, s, separator string) []Document {
	parts := []string{s}
	if separator != "" {
		parts = strings.Split(s, separator)
	}
	for i, p := range parts {
		if strings.TrimSpace(p) == "" {
			continue
		}
		if separator != "" {
			p = strings.TrimLeft(p, "\n")
		}
		if len(parts) > 1 {
			docs = append(docs, Document{fmt.Sprintf("%s#%d", name, i), p})
		} else {
			docs = append(docs, Document{name, p})
		}
	}
	return docs
}

// textFiles lists a file, or the files of a folder in order.
func textFiles(path string, extensions []string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("data: text: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != path && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case !d.Type().IsRegular() || !slices.ContainsFunc(extensions, func(e string) bool { return strings.HasSuffix(p, e) }):
			return nil
		case len(files) == maxTextFiles:
			return fmt.Errorf("more than %d files", maxTextFiles)
		}
		files = append(files, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("data: text: %s: %w", path, err)
	}
	return files, nil
}

// GoSource reads the Go files of the user's own toolchain, without testdata: a
// corpus that every Go machine has. maxBytes bounds it; 0 for 1 GiB.
func GoSource(maxBytes int64) ([]Document, error) {
	root := os.Getenv("GOROOT")
	if root == "" {
		root = runtime.GOROOT() //nolint:staticcheck // the toolchain is asked where it is unknown
	}
	if _, err := os.Stat(filepath.Join(root, "src")); root == "" || err != nil {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return nil, fmt.Errorf("data: no Go toolchain found: %w", err)
		}
		root = strings.TrimSpace(string(out))
	}
	return ReadDocuments(filepath.Join(root, "src"), TextConfig{Extensions: []string{".go"}, MaxBytes: maxBytes})
}

// WikiText is WikiText-2: each part is one text, as perplexities are computed.
// A part that is missing is "".
type WikiText struct{ Train, Valid, Test string }

// wikiNames are the usual names of a part's file.
var wikiNames = []string{"wikitext2-%s.txt", "wiki.%s.tokens", "wiki.%s.raw", "%s.txt"}

// ReadWikiText2 reads WikiText-2 from a folder with files such as
// wikitext2-test.txt, wiki.test.tokens or test.txt; a path to one file is the
// test part alone.
func ReadWikiText2(path string) (WikiText, error) {
	var w WikiText
	info, err := os.Stat(path)
	if err != nil {
		return w, fmt.Errorf("data: wikitext2: %w", err)
	}
	if !info.IsDir() {
		w.Test, err = readText(path)
		return w, err
	}
	for name, part := range map[string]*string{"train": &w.Train, "valid": &w.Valid, "test": &w.Test} {
		for _, f := range wikiNames {
			p := filepath.Join(path, fmt.Sprintf(f, name))
			if _, err := os.Stat(p); err != nil {
				continue
			}
			if *part, err = readText(p); err != nil {
				return w, err
			}
			break
		}
	}
	if w == (WikiText{}) {
		return w, fmt.Errorf("data: wikitext2: %s has none of the parts, such as %s", path, fmt.Sprintf(wikiNames[0], "test"))
	}
	return w, nil
}

func readText(path string) (string, error) {
	d, err := ReadDocuments(path, TextConfig{})
	if err != nil {
		return "", err
	}
	return d[0].Text, nil
}
