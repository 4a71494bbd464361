// Drives live players through all calls with a client that is generated from docs/openapi.yaml. It compares what the
// client decodes with the JSON that the server sent, and stops at the first difference.
//
//	check URL TOKEN
//
// scripts/check-go-client generates the client and runs this program.
package main

import (
	"context"
	"net/http"
	"os"

	"presence"
)

const (
	alice   = "go-alice"
	bob     = "go-bob"
	gateway = "go-gateway"
)

// A client and the token that it sends.
type session struct {
	*presence.APIClient
	context context.Context
}

func newSession(url, token string) session {
	configuration := presence.NewConfiguration()
	configuration.Servers = presence.ServerConfigurations{{URL: url}}
	return session{
		APIClient: presence.NewAPIClient(configuration),
		context:   context.WithValue(context.Background(), presence.ContextAccessToken, token),
	}
}

func main() {
	url, token := os.Args[1], os.Args[2]
	api := newSession(url, token)

	api.openGateway()
	connected := api.connect()
	api.heartbeat(connected)
	changed := api.setActivity(connected)
	api.read(changed)
	api.queryAsOperator()
	api.disconnect(changed)
	api.leaveGateway()
	api.readProblems()
	newSession(url, "a-wrong-token").readUnauthorized()
	decodeLaterVersions()
}

func (api session) openGateway() {
	call := presence.NewGatewayCall(gateway)
	lease := received(api.PlayersAPI.Gateway(api.context).GatewayCall(*call).Execute()).GatewayRenewed
	require(lease != nil && lease.Status == "new", "a new gateway gets a lease")
	equal("the gateway's TTL", lease.TtlMs, int64(60000))
	equal("the gateway's interval", lease.HeartbeatIntervalMs, int64(20000))
}

func (api session) connect() *presence.Connected {
	phone := single(alice, "phone")
	phone.SingleConnection.SetGatewayId(gateway)
	connected := received(api.PlayersAPI.Connect(api.context).Connections(phone).Execute()).Connected
	require(connected != nil, "the response to one connection is its presence")
	equal("the state", connected.State, presence.STATE_ONLINE)
	equal("the connections", connected.ConnectionCount, int64(1))
	equal("the TTL", connected.TtlMs, int64(45000))
	equal("the interval", connected.HeartbeatIntervalMs, int64(15000))
	require(*connected.Version.Get() > 1<<32, "a version in ms has more than 32 bits")
	require(*connected.LastSeen.Get() > 1<<32, "a time in ms has more than 32 bits")
	require(!connected.HasActivity(), "a new player has no activity")

	tablet := batch(*presence.NewConnection(alice, "tablet"))
	opened := received(api.PlayersAPI.Connect(api.context).Connections(tablet).Execute()).RenewedBatch
	require(opened != nil && opened.Accepted == 1 && opened.TtlMs == 45000, "the response to a batch is its outcome")
	return connected
}

func (api session) heartbeat(connected *presence.Connected) {
	heartbeat := received(api.PlayersAPI.Heartbeat(api.context).Connections(single(alice, "phone")).Execute()).Presence
	require(heartbeat != nil, "the response to one heartbeat is a presence")
	equal("the connections", heartbeat.ConnectionCount, int64(2))
	equal("the version after a heartbeat", *heartbeat.Version.Get(), *connected.Version.Get())
	require(*heartbeat.LastSeen.Get() >= *connected.LastSeen.Get(), "a heartbeat moves last_seen")

	both := batch(*presence.NewConnection(alice, "phone"), *presence.NewConnection(bob, "pc"))
	renewed := received(api.PlayersAPI.Heartbeat(api.context).Connections(both).Execute()).RenewedBatch
	require(renewed != nil, "the response to a batch of heartbeats is its outcome")
	equal("the accepted entries", renewed.Accepted, int64(2))
	equal("the restored connections", renewed.Restored, []presence.Connection{*presence.NewConnection(bob, "pc")})
}

func (api session) setActivity(connected *presence.Connected) *presence.Presence {
	change := presence.NewStateChange(alice)
	change.SetState(presence.STATE_IN_MATCH)
	change.SetActivity(ranked())
	changed := received(api.PlayersAPI.SetState(api.context).StateChange(*change).Execute())
	equal("the state", changed.State, presence.STATE_IN_MATCH)
	equal("the activity", changed.GetActivity(), ranked())
	require(*changed.Version.Get() > *connected.Version.Get(), "a transition raises the version")

	removal := presence.NewStateChange(alice)
	removal.SetActivityNil()
	removed := received(api.PlayersAPI.SetState(api.context).StateChange(*removal).Execute())
	require(!removed.HasActivity() && removed.State == presence.STATE_IN_MATCH, "null removes the activity alone")
	return received(api.PlayersAPI.SetState(api.context).StateChange(*change).Execute())
}

func (api session) read(changed *presence.Presence) {
	read := received(api.PlayersAPI.GetPresence(api.context, alice).Execute())
	equal("the presence that is read", read, changed)

	request := presence.NewFriendsRequest([]string{alice, "go-unknown"})
	request.SetHistory(true)
	friends := received(api.PlayersAPI.Friends(api.context).FriendsRequest(*request).Execute())
	equal("the number of friends", len(friends.Presences), 2)
	equal("the presence of a friend", &friends.Presences[0], changed)
	require(friends.AsOf >= *changed.LastSeen.Get(), "friends are read after the change")
	requireOffline(&friends.Presences[1])
	require(friends.Presences[1].Version.Get() == nil, "an unknown player has no history")
}

func (api session) queryAsOperator() {
	statistics := received(api.OperatorsAPI.GetStatistics(api.context).Execute())
	require(statistics.States.IN_MATCH >= 1 && statistics.Connections >= 3, "the players are counted")
	gateways := received(api.OperatorsAPI.ListGateways(api.context).Execute())
	equal("the gateways", len(gateways.Gateways), 1)
	equal("the gateway's connections", gateways.Gateways[0].Connections, int64(1))
	require(gateways.Gateways[0].ExpiresInMs > 0, "the gateway's lease has not expired")

	explanation := received(api.OperatorsAPI.ExplainPlayer(api.context, alice).Execute())
	lease := explanation.Connections[0]
	equal("the lease's end", lease.ExpiresAt, explanation.AsOf+lease.ExpiresInMs)
	equal("the next state", explanation.NextTransition.Get().State, presence.STATE_OFFLINE)
	unknown := received(api.OperatorsAPI.ExplainPlayer(api.context, "go-unknown").Execute())
	require(unknown.LastTransition.Get() == nil, "an unknown player has no transition")

	equal("the process", received(api.OperatorsAPI.IsAlive(api.context).Execute()).Status, "ok")
	equal("Redis", received(api.OperatorsAPI.IsReady(api.context).Execute()).Checks.Redis.Status, "ok")
	description := received(api.OperatorsAPI.GetDescription(api.context).Execute())
	equal("the description's format", description["openapi"], interface{}("3.1.0"))
	metrics, _, err := api.OperatorsAPI.GetMetrics(api.context).Execute()
	require(err == nil && len(metrics) > 0, "the metrics are text")
}

func (api session) disconnect(changed *presence.Presence) {
	phone := presence.NewSingleDisconnection(alice, "phone")
	phone.SetReason(presence.REASON_QUIT)
	call := presence.Disconnections{SingleDisconnection: phone}
	remaining := received(api.PlayersAPI.Disconnect(api.context).Disconnections(call).Execute()).Presence
	require(remaining != nil && remaining.ConnectionCount == 1, "the other connection remains")

	tablets := []presence.Connection{*presence.NewConnection(alice, "tablet"), *presence.NewConnection(bob, "pc")}
	call = presence.Disconnections{DisconnectionBatch: presence.NewDisconnectionBatch(tablets)}
	closed := received(api.PlayersAPI.Disconnect(api.context).Disconnections(call).Execute()).BatchResponse
	require(closed != nil && closed.Accepted == 2, "the response to a batch of disconnects is its outcome")

	offline := received(api.PlayersAPI.GetPresence(api.context, alice).Execute())
	requireOffline(offline)
	require(offline.LastSeen.Get() == nil && offline.Version.Get() == nil, "without history, times are null")
	past := received(api.PlayersAPI.GetPresence(api.context, alice).History(true).Execute())
	requireOffline(past)
	require(*past.Version.Get() > *changed.Version.Get(), "going OFFLINE raises the version")
	require(*past.LastSeen.Get() >= *changed.LastSeen.Get(), "the history has the last disconnect")
}

func (api session) leaveGateway() {
	call := presence.NewGatewayCall(gateway)
	call.SetLeaving("moving")
	left := received(api.PlayersAPI.Gateway(api.context).GatewayCall(*call).Execute()).GatewayLeft
	require(left != nil && left.Status == "left", "the gateway leaves")
	equal("the leases that ended", left.Connections, int64(0))
}

func (api session) readProblems() {
	closed := refused(api.PlayersAPI.Connect(api.context).Connections(single(alice, "phone")).Execute())
	requireProblem(closed, http.StatusGone, "urn:presence:connection-closed")

	change := presence.NewStateChange(alice)
	change.SetState(presence.STATE_IN_QUEUE)
	rejected := refused(api.PlayersAPI.SetState(api.context).StateChange(*change).Execute())
	requireProblem(rejected, http.StatusConflict, "urn:presence:transition-rejected")

	unnamed := batch(*presence.NewConnection(alice, ""))
	invalid := refused(api.PlayersAPI.Heartbeat(api.context).Connections(unnamed).Execute())
	requireProblem(invalid, http.StatusBadRequest, "urn:presence:invalid-request")
	equal("the invalid member", invalid.GetField(), "connections[0].connection_id")

	upgrade := refused(api.PlayersAPI.Watch(api.context).Execute())
	requireProblem(upgrade, http.StatusUpgradeRequired, "urn:presence:upgrade-required")
}

func (api session) readUnauthorized() {
	problem := refused(api.PlayersAPI.GetPresence(api.context, alice).Execute())
	requireProblem(problem, http.StatusUnauthorized, "urn:presence:unauthorized")
	// These calls need no token.
	received(api.OperatorsAPI.IsAlive(api.context).Execute())
	received(api.OperatorsAPI.GetDescription(api.context).Execute())
}

func single(player, connection string) presence.Connections {
	return presence.Connections{SingleConnection: presence.NewSingleConnection(player, connection)}
}

func batch(connections ...presence.Connection) presence.Connections {
	return presence.Connections{ConnectionBatch: presence.NewConnectionBatch(connections)}
}

func ranked() presence.Activity {
	activity := presence.NewActivity()
	activity.SetDetails("Ranked")
	activity.SetParty(*presence.NewParty("p7", 2, 4))
	activity.SetJoinable(true)
	activity.SetCustom(map[string]interface{}{"map": "desert", "rounds": []interface{}{}})
	return *activity
}
