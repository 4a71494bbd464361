//! Leases of gateways.

use redis::{Cmd, Value};

use super::{Store, scripts, sweep::is_wrong_type};
use crate::{
    model::{EventReason, GatewayId, GatewayStatus, Reason},
    redis::{Shard, StoreError},
};

/// The time after which sweeps take over from a gateway's own call to leave, in milliseconds. It is
/// longer than a call may take.
const LEAVING_TIMEOUT_MS: u64 = 15_000;

/// A gateway that is lost or leaves, so that the leases of its connections have to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) gateway: GatewayId,
    /// The time of the ending, in Unix milliseconds. Leases that were renewed later stay.
    pub(super) before: u64,
    /// The reason of OFFLINE transitions.
    pub(super) reason: EventReason,
    /// How long a player without any lease left keeps the record, in milliseconds.
    pub(super) grace: u64,
    /// The member of the sorted set of such gateways.
    pub(super) member: String,
}

/// The result of a check for lost gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostGateways {
    /// Whether no leases may be ended now: too many gateways expired at once, or the sweeps paused.
    pub(crate) is_held: bool,
    /// The number of gateways that this check found lost.
    pub(crate) lost: u64,
    /// The number of known gateways.
    pub(crate) known: u64,
    /// The gateways whose connections' leases have to be ended now.
    pub(crate) endings: Vec<Ending>,
}

impl Store {
    /// Renews a gateway's lease.
    pub(crate) async fn renew_gateway(
        &self,
        gateway: &GatewayId,
    ) -> Result<GatewayStatus, StoreError> {
        let complete = |command: &mut Cmd| {
            command
                .arg(1)
                .arg(self.keys.gateways())
                .arg(gateway.as_str())
                .arg(self.gateway_ttl);
        };
        let added: u64 = redis::from_redis_value(
            scripts::RENEW_GATEWAY
                .run(&self.redis, Shard::FIRST, complete)
                .await?,
        )?;
        Ok(if added == 1 {
            GatewayStatus::New
        } else {
            GatewayStatus::Alive
        })
    }

    /// Ends a gateway's lease. `None` if it is not known. The caller has to end the leases of its
    /// connections.
    pub(crate) async fn leave_gateway(
        &self,
        gateway: &GatewayId,
        reason: Reason,
    ) -> Result<Option<Ending>, StoreError> {
        let (reason, grace) = self.offline_reason_and_grace(reason);
        let complete = |command: &mut Cmd| {
            command
                .arg(2)
                .arg(self.keys.gateways())
                .arg(self.keys.gateways_ending());
            command
                .arg(gateway.as_str())
                .arg(format!("{reason}!{grace}"))
                .arg(LEAVING_TIMEOUT_MS);
        };
        let reply = scripts::LEAVE_GATEWAY
            .run(&self.redis, Shard::FIRST, complete)
            .await?;
        let member: Option<String> = redis::from_redis_value(reply)?;
        member
            .map(|member| Ending::parse(&member).ok_or(UNEXPECTED_MEMBER))
            .transpose()
    }

    /// Looks for gateways whose lease has expired. With any number of sweepers, each gateway is
    /// found lost once.
    pub(crate) async fn lost_gateways(&self) -> Result<LostGateways, StoreError> {
        let (reason, grace) = self.offline_reason_and_grace(Reason::Lost);
        let complete = |command: &mut Cmd| {
            let keys = [
                self.keys.gateways(),
                self.keys.gateways_ending(),
                self.keys.gateways_lost(),
                self.keys.gateways_seen(),
            ];
            command.arg(keys.len()).arg(&keys);
            command
                .arg(self.gateway_ttl)
                .arg(self.gateway_outage)
                .arg(format!("{reason}!{grace}"));
        };
        match scripts::LOST_GATEWAYS
            .run(&self.redis, Shard::FIRST, complete)
            .await
        {
            Ok(reply) => LostGateways::parse(reply),
            Err(error) if is_wrong_type(&error) => {
                self.delete_wrong_gateway_keys().await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes keys of gateways that hold another type: they would make all renewals of gateways
    /// fail.
    async fn delete_wrong_gateway_keys(&self) -> Result<(), StoreError> {
        let keys = &self.keys;
        for key in [
            keys.gateways(),
            keys.gateways_ending(),
            keys.gateways_lost(),
        ] {
            self.delete_wrong_type(Shard::FIRST, key.to_string(), &["ZCARD"])
                .await?;
        }
        self.delete_wrong_type(Shard::FIRST, keys.gateways_seen().to_string(), &["HLEN"])
            .await
    }

    /// The reason of OFFLINE transitions, and the grace (ms), after a disconnect for `reason`.
    pub(super) fn offline_reason_and_grace(&self, reason: Reason) -> (EventReason, u64) {
        match reason {
            Reason::Quit => (EventReason::Disconnect, 0),
            Reason::Lost => (EventReason::Lost, self.grace),
            Reason::Moving => (EventReason::Lost, self.move_grace),
        }
    }
}

const UNEXPECTED_MEMBER: StoreError =
    StoreError::Unexpected("a gateway whose connections are being ended");

impl Ending {
    /// Parses `<gateway_id>!<before>!<reason>!<grace>`.
    pub(super) fn parse(member: &str) -> Option<Self> {
        let mut parts = member.split('!');
        let ending = Self {
            gateway: GatewayId::parse(parts.next()?).ok()?,
            before: parts.next()?.parse().ok()?,
            reason: parts.next()?.into(),
            grace: parts.next()?.parse().ok()?,
            member: member.to_owned(),
        };
        parts.next().is_none().then_some(ending)
    }
}

impl LostGateways {
    fn parse(reply: Value) -> Result<Self, StoreError> {
        const UNEXPECTED: StoreError = StoreError::Unexpected("a script's reply");
        let mut parts = redis::from_redis_value::<Vec<Value>>(reply)?.into_iter();
        let mut take_number =
            || Ok::<u64, StoreError>(redis::from_redis_value(parts.next().ok_or(UNEXPECTED)?)?);
        let held = take_number()?;
        let lost = take_number()?;
        let known = take_number()?;
        let members = parts
            .map(redis::from_redis_value::<String>)
            .collect::<Result<Vec<_>, _>>()?;
        let endings = members
            .iter()
            .filter_map(|member| Ending::parse(member))
            .collect();
        Ok(Self {
            is_held: held == 1,
            lost,
            known,
            endings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_read_as_it_was_recorded() {
        let ending = Ending::parse("g1!1795492717576!lost!30000").unwrap();
        assert_eq!(
            (ending.gateway.as_str(), ending.before),
            ("g1", 1_795_492_717_576)
        );
        assert_eq!((ending.reason, ending.grace), (EventReason::Lost, 30_000));
        for member in [
            "",
            "g1",
            "g1!x!lost!0",
            "g1!1!lost",
            "g1!1!lost!0!0",
            "a b!1!lost!0",
        ] {
            assert_eq!(Ending::parse(member), None, "{member:?}");
        }
    }
}
