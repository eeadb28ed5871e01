package manager

import (
	"github.com/carob-project/carob/pkg/controller/ephemeral"
	"github.com/carob-project/carob/pkg/controller/persistentvolume"
	"github.com/carob-project/carob/pkg/controller/protection"
)

// buildStorage makes the controllers of claims and volumes.
func (m *Manager) buildStorage(o Options) error {
	binder, err := persistentvolume.New(persistentvolume.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("persistentvolume-controller"), Growth: m.recorder("volume_expand"),
		Log: o.Log.Named("persistentvolume"),
	})
	if err != nil {
		return err
	}
	guard, err := protection.New(protection.Options{Client: o.Client, Informers: o.Informers, Log: o.Log.Named("protection")})
	if err != nil {
		return err
	}
	own, err := ephemeral.New(ephemeral.Options{
		Client: o.Client, Informers: o.Informers, Recorder: m.recorder("ephemeral_volume"), Log: o.Log.Named("ephemeral"),
	})
	if err != nil {
		return err
	}
	m.loops["persistentvolume"], m.loops["protection"], m.loops["ephemeral"] = binder, guard, own
	return nil
}
