package serve

import (
	"embed"
	"net/http"
)

//go:embed picture.html chat.html
var pages embed.FS

// page serves one of the pages that come with the program. They load nothing from
// elsewhere.
func page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, err := pages.ReadFile(name)
		if err != nil {
			fail(w, http.StatusInternalServerError, "internal", err.Error())
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src blob:")
		w.Write(b)
	}
}
