package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

// Runs a health check as Argo CD does (util/lua of its sources): the same interpreter, one second, and of the libraries only those that
// a check of one's own gets there. There is no library of strings.
func healthOf(object []byte, script string) (*verdict, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.SetContext(ctx)
	value, err := luajson.Decode(l, object)
	if err != nil {
		return nil, err
	}
	l.SetGlobal("obj", value)
	if err := l.DoString(script); err != nil {
		return nil, err
	}
	answer, err := luajson.Encode(l.Get(-1))
	if err != nil {
		return nil, err
	}
	var health verdict
	if err := json.Unmarshal(answer, &health); err != nil {
		return nil, fmt.Errorf("the check answers no health: %s", answer)
	}
	return &health, nil
}
