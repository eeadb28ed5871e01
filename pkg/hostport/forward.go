package hostport

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// ForwardDrops names the nftables chains that drop forwarded traffic unless one
// of their rules accepts it, such as the FORWARD chain that Docker leaves. No
// rule of another table can override them: pods behind a bridge then reach no
// other machine until a rule there lets them.
func ForwardDrops(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "nft", "-j", "list", "chains").Output()
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	return forwardDrops(out)
}

func forwardDrops(list []byte) ([]string, error) {
	var doc struct {
		NFTables []struct {
			Chain *struct {
				Family, Table, Name, Hook, Policy string
			} `json:"chain"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(list, &doc); err != nil {
		return nil, fmt.Errorf("read the list of nftables chains: %w", err)
	}
	var names []string
	for _, o := range doc.NFTables {
		c := o.Chain
		if c != nil && c.Hook == "forward" && c.Policy == "drop" && (c.Family == "ip" || c.Family == "inet") {
			names = append(names, strings.Join([]string{c.Family, c.Table, c.Name}, " "))
		}
	}
	return names, nil
}
