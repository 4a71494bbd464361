//! `presence probe`: the health of the service.

use presence_client::operator::{Health, HealthStatus};

use crate::{
    failure::{Failure, Status},
    output::{Output, span},
    service::Service,
    style::of_health,
    table::{Cell, Table},
};

pub(super) async fn run(service: &Service, output: Output) -> Result<Status, Failure> {
    let health = service
        .operator
        .health()
        .await
        .map_err(|error| service.failure(&error))?;
    output.show(&health, || text(&health, service.url()))?;
    Ok(match health.status {
        HealthStatus::Ok => Status::Done,
        HealthStatus::Degraded => Status::Degraded,
        HealthStatus::Unavailable | HealthStatus::Unknown | HealthStatus::Disabled => {
            Status::Failed
        }
    })
}

fn text(health: &Health, url: &str) -> String {
    let checks = &health.checks;
    let mut table = Table::new(["CHECK", "STATUS", "AGE"]);
    for (name, check) in [
        ("redis", checks.redis),
        ("nats", checks.nats),
        ("sweep", checks.sweep),
        ("outbox", checks.outbox),
    ] {
        let age = check.age_ms.map_or_else(|| "-".to_owned(), span);
        table.push([
            Cell::plain(name),
            Cell::new(check.status.as_str(), of_health(check.status)),
            Cell::plain(age),
        ]);
    }
    let style = of_health(health.status);
    format!(
        "{url} is {style}{}{style:#}\n\n{table}",
        health.status.as_str()
    )
}
