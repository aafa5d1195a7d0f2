//! A CSV file with its journal, held to what every backlog promises.

use super::{Bench, CsvBacklog};
use crate::backlog::conformance::{Shop, conforms};

impl Shop for Bench {
    type Backlog = CsvBacklog;

    async fn open(&mut self) -> CsvBacklog {
        self.open_with(|settings| settings.wall_clock = jiff::Timestamp::now)
            .0
    }

    async fn outcomes(&mut self) -> Vec<(String, String)> {
        self.results()
    }
}

async fn bench(count: usize) -> Bench {
    let ids: Vec<String> = (0..count).map(|n| format!("r{n}")).collect();
    Bench::of(&ids.iter().map(String::as_str).collect::<Vec<_>>())
}

conforms!(bench);
