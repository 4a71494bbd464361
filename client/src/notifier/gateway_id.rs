//! Generated ids of gateways.

use crate::GatewayId;

/// Generates an id from the host's name and a random part, for one start of a process.
pub(super) fn generate() -> GatewayId {
    from_host(&host_name(), fastrand::u64(..))
}

fn from_host(host: &str, random: u64) -> GatewayId {
    let random = format!("-{random:016x}");
    let allowed: String = host
        .chars()
        .filter(|c| GatewayId::parse(c.encode_utf8(&mut [0; 4])).is_ok())
        .collect();
    let full_name = if allowed.is_empty() {
        "gateway"
    } else {
        &allowed
    };
    let name = &full_name[..full_name.len().min(GatewayId::MAX_LENGTH - random.len())];
    // It has between 1 and MAX_LENGTH characters, each of them allowed.
    GatewayId::parse(&format!("{name}{random}")).unwrap_or_else(|_| unreachable!("an id"))
}

/// The host's name; in a container, that of the container. Empty if the system does not say.
fn host_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_is_valid_whatever_the_host_is_called_and_never_the_same() {
        for host in ["gw-1.example.com", "", "ä b!", &"long".repeat(40)] {
            let id = from_host(host, 7);
            assert_eq!(GatewayId::parse(id.as_str()), Ok(id.clone()), "{host}");
        }
        assert_eq!(from_host("gw-1", 7).as_str(), "gw-1-0000000000000007");
        assert_ne!(generate(), generate());
    }
}
