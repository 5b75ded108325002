//! In which database each cell is to be, so that all have about as many. Pure: as few cells move as possible, and a spread that is
//! even gives nothing.

use std::collections::BTreeMap;

use stride_ids::{CellId, DatabaseId};

use crate::tables::CellRow;

/// The cells that have to go elsewhere, by where.
pub(crate) fn spread(cells: &[CellRow], databases: &[DatabaseId]) -> BTreeMap<DatabaseId, Vec<CellId>> {
    let mut has: BTreeMap<DatabaseId, Vec<CellId>> = databases.iter().map(|number| (*number, Vec::new())).collect();
    for (cell, row) in (0u16..).map(CellId).zip(cells) {
        has.entry(row.moves_to.unwrap_or(row.database)).or_default().push(cell);
    }
    let mut moves: BTreeMap<DatabaseId, Vec<CellId>> = BTreeMap::new();
    loop {
        let count = |(number, cells): (&DatabaseId, &Vec<CellId>)| (cells.len(), std::cmp::Reverse(*number));
        let Some((most, std::cmp::Reverse(from))) = has.iter().map(count).max() else { return moves };
        let Some((least, std::cmp::Reverse(to))) = has.iter().map(count).min() else { return moves };
        let Some(cell) = (most > least + 1).then(|| has.get_mut(&from)?.pop()).flatten() else { return moves };
        has.entry(to).or_default().push(cell);
        moves.entry(to).or_default().push(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASES: [DatabaseId; 3] = [DatabaseId(0), DatabaseId(1), DatabaseId(2)];

    fn rows(databases: impl IntoIterator<Item = u16>) -> Vec<CellRow> {
        databases.into_iter().map(|at| CellRow { database: DatabaseId(at), ..CellRow::default() }).collect()
    }

    fn apply(cells: &mut [CellRow], moves: &BTreeMap<DatabaseId, Vec<CellId>>) {
        for (to, moved) in moves {
            for cell in moved {
                cells[usize::from(cell.0)].moves_to = Some(*to);
            }
        }
    }

    #[test]
    fn all_databases_have_about_as_many_cells_and_no_more_move_than_have_to() {
        for (at, expected) in [(vec![0; 10], 6), (vec![0, 0, 0, 0, 1, 1, 1, 1, 1, 1], 3), (vec![0, 1, 2, 0], 0)] {
            let mut cells = rows(at);
            let moves = spread(&cells, &DATABASES);
            assert_eq!(moves.values().map(Vec::len).sum::<usize>(), expected, "{moves:?}");
            apply(&mut cells, &moves);
            let has = |number| cells.iter().filter(|row| row.moves_to.unwrap_or(row.database) == number).count();
            let counts: Vec<usize> = DATABASES.iter().map(|number| has(*number)).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            assert!(spread(&cells, &DATABASES).is_empty(), "it has come to rest, also before cells have moved");
        }
    }

    #[test]
    fn with_one_database_nothing_moves() {
        assert!(spread(&rows([0; 8]), &DATABASES[..1]).is_empty());
        assert!(spread(&[], &DATABASES).is_empty());
    }
}
