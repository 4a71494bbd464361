package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"

	"presence"
)

// The value of a successful call. Every member of the response has to be in it, with the same value.
func received[T any](value T, response *http.Response, err error) T {
	if err != nil {
		fail("%s: %v", call(response), err)
	}
	requireSame(value, response)
	return value
}

// The problem of a call that fails.
func refused[T any](_ T, response *http.Response, err error) presence.Problem {
	var refusal *presence.GenericOpenAPIError
	require(errors.As(err, &refusal), "%s: expected a problem, not %v", call(response), err)
	problem, ok := refusal.Model().(presence.Problem)
	require(ok, "%s: the response was not decoded as a problem: %v", call(response), err)
	requireSame(problem, response)
	equal("the problem's status", int(problem.Status), response.StatusCode)
	return problem
}

func requireSame(value interface{}, response *http.Response) {
	sent, err := io.ReadAll(response.Body)
	require(err == nil, "%s: %v", call(response), err)
	decoded, err := json.Marshal(value)
	require(err == nil, "%s: %v", call(response), err)
	require(reflect.DeepEqual(parse(sent), parse(decoded)), "%s: the server sent %s, the client decoded %s",
		call(response), sent, decoded)
}

func requireProblem(problem presence.Problem, status int32, name string) {
	equal("the status", problem.Status, status)
	equal("the type of the problem", problem.Type, name)
}

func requireOffline(player *presence.Presence) {
	equal("the state", player.State, presence.STATE_OFFLINE)
	equal("the connections", player.ConnectionCount, int64(0))
	require(!player.HasActivity(), "an OFFLINE player has no activity")
}

// A later version of the service may add members to responses.
func decodeLaterVersions() {
	sent := `{"player_id":"alice","state":"AWAY","last_seen":null,"connection_count":1,"version":1795493786511,"later":1}`
	var player presence.Presence
	err := json.Unmarshal([]byte(sent), &player)
	require(err == nil, "a member that the description does not have: %v", err)
	equal("the version", *player.Version.Get(), int64(1795493786511))
}

func call(response *http.Response) string {
	if response == nil {
		return "no response"
	}
	return response.Request.Method + " " + response.Request.URL.Path
}

func parse(text []byte) interface{} {
	var value interface{}
	if err := json.Unmarshal(text, &value); err != nil {
		fail("not JSON: %s", text)
	}
	return value
}

// Both have the same type, so a 32-bit integer does not compile if the caller expects 64 bits.
func equal[T any](what string, actual, expected T) {
	require(reflect.DeepEqual(actual, expected), "%s: %v, expected %v", what, actual, expected)
}

func require(holds bool, format string, values ...interface{}) {
	if !holds {
		fail(format, values...)
	}
}

func fail(format string, values ...interface{}) {
	fmt.Fprintf(os.Stderr, "check-go-client: "+format+"\n", values...)
	os.Exit(1)
}
