//! Whether a run was clean, and if not, why.

use super::{Connections, Deliveries, Publications, Scenario};

/// Everything that was wrong, in words; nothing = the run was clean.
pub(super) fn faults(
    scenario: Scenario,
    publications: &Publications,
    deliveries: &Deliveries,
    connections: &Connections,
) -> Vec<String> {
    let mut faults = Vec::new();
    // Without this a server that takes nothing, or a run too short to publish, would look perfect.
    if scenario == Scenario::Fanout && deliveries.measured == 0 {
        faults.push("nothing was delivered in the measured part".to_owned());
    }
    let counts = [
        (publications.refused, "publications refused"),
        (publications.unanswered, "publications unanswered"),
        (deliveries.lost, "deliveries lost"),
        (deliveries.duplicated, "deliveries duplicated"),
        (deliveries.out_of_order, "deliveries out of order"),
        (deliveries.misrouted, "deliveries misrouted"),
        (connections.lost, "connections lost"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    faults.extend(counts.map(|(count, what)| format!("{what}: {count}")));
    faults
}
