//! Brings a cluster up.
use end_to_end::patroni::Patroni;
use std::time::Instant;
fn main() {
    let start = Instant::now();
    let Some(cluster) = Patroni::start(2) else { return };
    println!("up after {:?}: {:?}", start.elapsed(), cluster.state());
    let leader = cluster.wait_leader();
    let start = Instant::now();
    cluster.kill_server(leader);
    println!("killed {leader}: {:?}", start.elapsed());
    let new = cluster.wait_other_leader(leader);
    println!("{new} leads after {:?}", start.elapsed());
    cluster.start_server(leader);
    cluster.wait_whole();
    println!("whole after {:?}: {:?}", start.elapsed(), cluster.state());
}
