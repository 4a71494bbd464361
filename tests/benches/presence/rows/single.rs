//! One heartbeat per call.
//!
//! Here everything may run on both CPUs: the reference spends Redis's time, the service its own,
//! and neither is to be kept from a CPU that would be idle. The server has one worker, as the echo
//! has one thread.

use crate::{
    cpu, http, redis,
    report::{Bar, Report},
};

const CONNECTIONS: usize = 64;
const CALLS: usize = 64_000;
const ROUNDS: usize = 3;

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (service, address) = super::server(&server, &[]).await;
    for process in [server.id(), service.id(), std::process::id()] {
        cpu::pin(process, "0,1");
    }
    super::connect(&address, CALLS).await;
    let (mut echo, echo_address) = http::start_echo();
    let hash = redis::load(&mut server.connection().await, &redis::heartbeat_script()).await;
    let commands: Vec<_> = (0..CALLS).map(|n| redis::heartbeat(&hash, n)).collect();
    let requests: Vec<_> = (0..CALLS)
        .map(|n| http::post("/presence/heartbeat", &super::heartbeat(n)))
        .collect();

    let mut raw = server.connection().await;
    let [
        mut ours,
        mut script,
        mut service_time,
        mut echo_time,
        mut redis_time,
        mut load_time,
    ] = [0.0; 6];
    for _ in 0..ROUNDS {
        let service_before = cpu::time_of(service.id());
        let redis_before = redis::cpu_time(&mut raw).await;
        let load_before = cpu::time_of(std::process::id());
        ours += http::load(&address, CONNECTIONS, &requests)
            .await
            .as_secs_f64();
        service_time += (cpu::time_of(service.id()) - service_before).as_secs_f64();
        redis_time += (redis::cpu_time(&mut raw).await - redis_before).as_secs_f64();
        load_time += (cpu::time_of(std::process::id()) - load_before).as_secs_f64();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(server.connection().await);
        }
        script += redis::one_by_one(connections, &commands)
            .await
            .as_secs_f64();
        let echo_before = cpu::time_of(echo.id());
        http::load(&echo_address, CONNECTIONS, &requests).await;
        echo_time += (cpu::time_of(echo.id()) - echo_before).as_secs_f64();
    }
    let _ = (echo.kill(), echo.wait());
    let calls = (ROUNDS * CALLS) as f64;
    let format_rate = |seconds: f64| format!("{:.0} per second", calls / seconds);
    let format_micros = |seconds: f64| format!("{:.1} µs", seconds * 1e6 / calls);
    report.add(
        "heartbeats, one per call",
        format_rate(ours),
        format!("{} own script, {CONNECTIONS} clients", format_rate(script)),
        script / ours,
        Bar::AtLeast(1.0),
    );
    report.add(
        "service CPU per heartbeat, one per call",
        format_micros(service_time),
        format!("{} HTTP echo", format_micros(echo_time)),
        service_time / echo_time,
        Bar::AtMost(1.6),
    );
    let busy = 100.0 * (service_time + redis_time + load_time) / (2.0 * ours);
    let [service, redis, load] = [service_time, redis_time, load_time].map(format_micros);
    let costs = format!("{load} load, {service} service, {redis} Redis: {busy:.0} % of two CPUs");
    report.note("CPU of one heartbeat per call", &costs);
}
