#![no_main]
//! A table, read with every policy; what loads must have the cells that its size says, and only good numbers.

use gradus_data::{Csv, CsvOptions, Dataset, MissingValues};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for policy in [MissingValues::Refuse, MissingValues::DropRow, MissingValues::Keep] {
        let Ok(table) = Csv::parse("table", bytes, &CsvOptions { policy, ..CsvOptions::default() }) else { continue };
        for column in 0..table.names().len() {
            (0..table.len()).for_each(|row| _ = table.cell(row, column));
            if let Ok(labelled) = table.labelled(column) {
                let data = labelled.data;
                Dataset::new(&data.name, data.features, data.labels, data.width, data.classes).expect("a valid data set");
            }
        }
    }
});
