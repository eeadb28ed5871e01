package folder

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print shows reports as a table.
func Print(out io.Writer, reports []Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "folder %s (set %s)\n", r.Folder, r.Set)
		fmt.Fprintln(w, "FILE\tOBJECT\tSTATE\tERROR")
		for _, row := range r.Rows {
			where := row.File
			if row.Line > 0 {
				where = fmt.Sprintf("%s:%d", row.File, row.Line)
			}
			object := "-"
			if row.Kind != "" {
				object = Key{Kind: row.Kind, Namespace: row.Namespace, Name: row.Name}.String()
			}
			text := row.Error
			if row.Field != "" {
				text = row.Field + ": " + text
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", where, object, row.State, text)
		}
		if r.Omitted > 0 {
			fmt.Fprintf(w, "and %d more\n", r.Omitted)
		}
	}
	return w.Flush()
}
