//! Games as formulas.

mod enclosure;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use nalgebra::DMatrix;

use crate::expression::{Graph, MOST_STEPS, Program, Symbol};
use crate::rigorous::Interval;
use crate::scalar::Real;
pub(crate) use enclosure::Enclosure;

/// What is no game, or no place in one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GameError {
    /// Sizes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Dimension {
        /// What has the size.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// Formulas that, with their derivatives, have too many steps.
    #[error("the formulas and their derivatives have more than {most} steps")]
    TooLarge {
        /// The most they may have.
        most: usize,
    },
    /// A number that is not finite.
    #[error("{what} is not finite")]
    NonFinite {
        /// What is not.
        what: String,
    },
}

/// A differentiable game of two or more players, each with one or more variables: its pseudo-gradient `F(x) = (∇ᵢ f_i(x))ᵢ`, the
/// Jacobian of `F`, and enclosures of both on boxes.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
///
/// // By the players' losses, each in two numbers:
/// let toy = Game::from_losses(&[1, 1], |x| vec![x[0].square() / 2.0 + 10.0 * x[0] * x[1], x[1].square() / 2.0 + 0.05 * x[0] * x[1]])?;
/// assert_eq!(toy.field(&[1.0, 2.0]), [21.0, 2.05]);
///
/// // By what each moves against:
/// let waves = Game::from_field(&[1, 1], |x| {
///     vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()]
/// })?;
/// assert_eq!(waves.jacobian(&[0.0, 0.0]).row(0)[1], 2.0);
/// // On the whole of [-1, 1]² at once: the first player's own curvature lies between 1 and 2.5.
/// let side = Interval::new(-1.0, 1.0).unwrap();
/// let own = waves.jacobian_box(&[side, side])[0];
/// assert!(own.lo() > 0.99 && own.contains(1.0) && own.contains(2.5) && own.hi() < 2.51);
/// # Ok::<(), gradus_games::game::GameError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Game {
    dimensions: Vec<usize>,
    form: Form,
}

/// What a player is known by.
#[derive(Debug, Clone)]
pub enum Player<'g> {
    /// The loss that it makes small.
    Loss(Symbol<'g>),
    /// Its part of the pseudo-gradient: one formula for each of its variables.
    Field(Vec<Symbol<'g>>),
}

impl<'g> Player<'g> {
    fn loss(&self) -> Option<Symbol<'g>> {
        match self {
            Self::Loss(loss) => Some(*loss),
            Self::Field(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Affine { jacobian: DMatrix<f64>, offset: Vec<f64> },
    Formula(Box<Formula>),
    Functions(Arc<Functions>),
}

/// A field and its Jacobian that are known at points only.
struct Functions {
    field: Box<dyn Fn(&[f64]) -> Vec<f64> + Send + Sync>,
    jacobian: Box<dyn Fn(&[f64]) -> DMatrix<f64> + Send + Sync>,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("functions")
    }
}

/// The same, and not only alike.
impl PartialEq for Functions {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Formula {
    /// None of a game of which only the Jacobian is known.
    field: Option<Program>,
    /// Row by row.
    jacobian: Program,
    /// The Jacobian, and then its entries' derivatives that are not zero everywhere, as in `changes`.
    slopes: Program,
    changes: Vec<Change>,
}

/// An entry of the Jacobian that changes along a variable.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Change {
    entry: usize,
    axis: usize,
}

impl Game {
    /// The game of the players' losses, of which the players' `dimensions` say how many variables are whose.
    ///
    /// # Errors
    /// [`GameError::Dimension`] for fewer than two players, a player without a variable, or another number of losses;
    /// [`GameError::TooLarge`].
    pub fn from_losses(dimensions: &[usize], losses: impl for<'g> FnOnce(&[Symbol<'g>]) -> Vec<Symbol<'g>>) -> Result<Self, GameError> {
        Self::from_players(dimensions, |x| {
            let losses = losses(x);
            check("losses", dimensions.len(), losses.len())?;
            Ok(losses.into_iter().map(Player::Loss).collect())
        })
    }

    /// The game of a pseudo-gradient: for each variable, the derivative of its player's loss with respect to it.
    ///
    /// # Errors
    /// [`GameError::Dimension`] for fewer than two players, a player without a variable, or another number of formulas than
    /// variables; [`GameError::TooLarge`].
    pub fn from_field(dimensions: &[usize], field: impl for<'g> FnOnce(&[Symbol<'g>]) -> Vec<Symbol<'g>>) -> Result<Self, GameError> {
        Self::from_players(dimensions, |x| {
            let field = field(x);
            check("entries of the field", x.len(), field.len())?;
            Ok(players(dimensions).into_iter().map(|variables| Player::Field(field[variables].to_vec())).collect())
        })
    }

    /// The game of players of both kinds; what refuses a formula ends it.
    ///
    /// # Errors
    /// [`GameError::Dimension`] for fewer than two players, a player without a variable, or another number of formulas;
    /// [`GameError::TooLarge`]; and the formulas' own errors.
    pub fn from_players<E: From<GameError>>(
        dimensions: &[usize],
        formulas: impl for<'g> FnOnce(&[Symbol<'g>]) -> Result<Vec<Player<'g>>, E>,
    ) -> Result<Self, E> {
        check_dimensions(dimensions)?;
        let graph = RefCell::new(Graph::default());
        let x = Graph::variables(&graph, dimensions.iter().sum());
        let formulas = formulas(&x)?;
        check_room(&graph)?;
        check("players with formulas", dimensions.len(), formulas.len())?;
        let losses: Vec<Symbol<'_>> = formulas.iter().filter_map(Player::loss).collect();
        let losses = graph.borrow_mut().program(&losses);
        let (mut field, mut place) = (Vec::with_capacity(x.len()), 0);
        for (player, variables) in formulas.into_iter().zip(players(dimensions)) {
            match player {
                Player::Loss(_) => {
                    for k in variables {
                        field.push(losses.along(&x, k)[place].slope);
                        check_room(&graph)?;
                    }
                    place += 1;
                }
                Player::Field(entries) => {
                    check("entries of a player's field", variables.len(), entries.len())?;
                    field.extend(entries);
                }
            }
        }
        Ok(Self::record(dimensions, &graph, &x, &field)?)
    }

    /// A game of which only the Jacobian is known, row by row: what is said of Jacobians and their blocks can be said of it.
    ///
    /// Its field is some field with this Jacobian, and is not known: [`Game::field`] gives what is no number, [`Game::field_box`] all
    /// numbers, so that nothing which needs values of the field, such as an equilibrium, is ever claimed.
    ///
    /// ```
    /// use gradus_games::expression::Symbol;
    /// use gradus_games::game::Game;
    /// use gradus_games::scalar::Real;
    ///
    /// let game = Game::from_jacobian(&[1, 1], |x| vec![Symbol::constant(1.0), x[0].sin(), Symbol::constant(0.3), Symbol::constant(1.0)])?;
    /// assert_eq!(game.jacobian(&[0.0, 5.0]).row(0)[1], 0.0);
    /// assert!(game.field(&[0.0, 5.0])[0].is_nan());
    /// # Ok::<(), gradus_games::game::GameError>(())
    /// ```
    ///
    /// # Errors
    /// [`GameError::Dimension`] for fewer than two players, a player without a variable, or another number of formulas than entries.
    pub fn from_jacobian(dimensions: &[usize], jacobian: impl for<'g> FnOnce(&[Symbol<'g>]) -> Vec<Symbol<'g>>) -> Result<Self, GameError> {
        check_dimensions(dimensions)?;
        let graph = RefCell::new(Graph::default());
        let x = Graph::variables(&graph, dimensions.iter().sum());
        let entries = jacobian(&x);
        check("entries of the Jacobian", x.len() * x.len(), entries.len())?;
        Self::record_jacobian(dimensions, &graph, &x, None, entries)
    }

    /// The game of a pseudo-gradient and its Jacobian that are computed by any means, at points only: it can be played, measured and
    /// sampled, but nothing is known of it on boxes, and nothing can be certified. What the functions return must have the game's size.
    ///
    /// # Errors
    /// [`GameError::Dimension`] for fewer than two players, or a player without a variable.
    pub fn from_functions(
        dimensions: &[usize],
        field: impl Fn(&[f64]) -> Vec<f64> + Send + Sync + 'static,
        jacobian: impl Fn(&[f64]) -> DMatrix<f64> + Send + Sync + 'static,
    ) -> Result<Self, GameError> {
        check_dimensions(dimensions)?;
        let functions = Functions { field: Box::new(field), jacobian: Box::new(jacobian) };
        Ok(Self { dimensions: dimensions.to_vec(), form: Form::Functions(Arc::new(functions)) })
    }

    /// The game with `F(x) = J x + offset`.
    ///
    /// # Errors
    /// [`GameError::Dimension`] when sizes do not fit, [`GameError::NonFinite`].
    pub fn affine(dimensions: &[usize], jacobian: DMatrix<f64>, offset: Vec<f64>) -> Result<Self, GameError> {
        check_dimensions(dimensions)?;
        let size = dimensions.iter().sum();
        check("rows of the Jacobian", size, jacobian.nrows())?;
        check("columns of the Jacobian", size, jacobian.ncols())?;
        check("entries of the offset", size, offset.len())?;
        for i in 0..size {
            if let Some(j) = (0..size).find(|&j| !jacobian[(i, j)].is_finite()) {
                return Err(GameError::NonFinite { what: format!("entry ({i}, {j}) of the Jacobian") });
            }
            if !offset[i].is_finite() {
                return Err(GameError::NonFinite { what: format!("entry {i} of the offset") });
            }
        }
        Ok(Self { dimensions: dimensions.to_vec(), form: Form::Affine { jacobian, offset } })
    }

    fn record<'g>(dimensions: &[usize], graph: &'g RefCell<Graph>, x: &[Symbol<'g>], field: &[Symbol<'g>]) -> Result<Self, GameError> {
        let size = x.len();
        let field = graph.borrow_mut().program(field);
        let mut columns = Vec::with_capacity(size);
        for axis in 0..size {
            columns.push(field.along(x, axis));
            check_room(graph)?;
        }
        let entries: Vec<Symbol<'_>> = (0..size * size).map(|entry| columns[entry % size][entry / size].slope).collect();
        Self::record_jacobian(dimensions, graph, x, Some(field), entries)
    }

    fn record_jacobian<'g>(
        dimensions: &[usize],
        graph: &'g RefCell<Graph>,
        x: &[Symbol<'g>],
        field: Option<Program>,
        entries: Vec<Symbol<'g>>,
    ) -> Result<Self, GameError> {
        let size = x.len();
        let jacobian = graph.borrow_mut().program(&entries);
        let mut changes = Vec::new();
        let mut outputs = entries;
        for axis in 0..size {
            for (entry, dual) in jacobian.along(x, axis).into_iter().enumerate() {
                if !dual.slope.is_zero() {
                    changes.push(Change { entry, axis });
                    outputs.push(dual.slope);
                }
            }
            check_room(graph)?;
        }
        let slopes = graph.borrow_mut().program(&outputs);
        Ok(Self { dimensions: dimensions.to_vec(), form: Form::Formula(Box::new(Formula { field, jacobian, slopes, changes })) })
    }

    /// How many variables each player has.
    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }

    /// Number of variables of all players.
    pub fn size(&self) -> usize {
        self.dimensions.iter().sum()
    }

    /// The variables of each player.
    pub fn players(&self) -> Vec<Range<usize>> {
        players(&self.dimensions)
    }

    /// Whether the Jacobian is the same everywhere.
    pub fn is_affine(&self) -> bool {
        match &self.form {
            Form::Affine { .. } => true,
            Form::Functions(_) => false,
            Form::Formula(formula) => {
                formula.jacobian.is_total()
                    && formula.field.as_ref().is_none_or(Program::is_total)
                    && (0..formula.jacobian.len()).all(|entry| formula.jacobian.constant(entry).is_some())
            }
        }
    }

    /// `F(x)`, with any kind of number; not a number, or all numbers, of a game of which only the Jacobian is known.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    #[track_caller]
    pub fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
        self.check_size(x.len());
        match &self.form {
            Form::Affine { jacobian, offset } => jacobian
                .row_iter()
                .zip(offset)
                .map(|(row, &offset)| row.iter().zip(x).filter(|(a, _)| **a != 0.0).fold(R::constant(offset), |sum, (&a, &x)| sum + x * a))
                .collect(),
            Form::Formula(formula) => match &formula.field {
                Some(field) => field.values(x),
                None => unknown(x.len()),
            },
            Form::Functions(functions) => match numbers(x) {
                Some(x) => (functions.field)(&x).into_iter().map(|value| R::rounded(value, Interval::ENTIRE)).collect(),
                None => unknown(x.len()),
            },
        }
    }

    /// The Jacobian `DF(x)` row by row, with any kind of number; `scratch` is room for its parts.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    #[track_caller]
    pub fn jacobian_with<R: Real>(&self, x: &[R], scratch: &mut Vec<R>, out: &mut Vec<R>) {
        self.check_size(x.len());
        out.clear();
        match &self.form {
            Form::Affine { jacobian, .. } => out.extend(jacobian.transpose().iter().map(|&entry| R::constant(entry))),
            Form::Formula(formula) => {
                formula.jacobian.run(x, scratch);
                out.extend(formula.jacobian.outputs(scratch));
            }
            Form::Functions(functions) => match numbers(x) {
                Some(x) => {
                    let jacobian = (functions.jacobian)(&x).transpose();
                    out.extend(jacobian.iter().map(|&entry| R::rounded(entry, Interval::ENTIRE)));
                }
                None => out.extend(unknown::<R>(x.len() * x.len())),
            },
        }
    }

    /// The Jacobian `DF(x)`.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    #[track_caller]
    pub fn jacobian(&self, x: &[f64]) -> DMatrix<f64> {
        self.check_size(x.len());
        match &self.form {
            Form::Affine { jacobian, .. } => jacobian.clone(),
            Form::Formula(formula) => DMatrix::from_row_iterator(x.len(), x.len(), formula.jacobian.values(x)),
            Form::Functions(functions) => (functions.jacobian)(x),
        }
    }

    /// `F(x)` into `out`. `scratch` is room for the steps of the formulas: with the same room for each call, nothing is allocated.
    ///
    /// # Panics
    /// When `x` or `out` has another size than the game.
    #[track_caller]
    pub fn field_into(&self, x: &[f64], scratch: &mut Vec<f64>, out: &mut [f64]) {
        self.check_size(x.len());
        self.check_size(out.len());
        match &self.form {
            Form::Affine { jacobian, offset } => {
                out.copy_from_slice(offset);
                for (column, &x) in jacobian.column_iter().zip(x) {
                    column.iter().zip(&mut *out).for_each(|(a, sum)| *sum += a * x);
                }
            }
            Form::Formula(formula) => match &formula.field {
                Some(field) => {
                    field.run(x, scratch);
                    out.iter_mut().zip(field.outputs(scratch)).for_each(|(out, value)| *out = value);
                }
                None => out.fill(f64::NAN),
            },
            Form::Functions(functions) => out.copy_from_slice(&(functions.field)(x)),
        }
    }

    /// `DF(x)` into `out`, in the same way.
    ///
    /// # Panics
    /// When `x` or `out` has another size than the game.
    #[track_caller]
    pub fn jacobian_into(&self, x: &[f64], scratch: &mut Vec<f64>, out: &mut DMatrix<f64>) {
        self.check_size(x.len());
        self.check_size(out.nrows());
        self.check_size(out.ncols());
        match &self.form {
            Form::Affine { jacobian, .. } => out.copy_from(jacobian),
            Form::Functions(functions) => out.copy_from(&(functions.jacobian)(x)),
            Form::Formula(formula) => {
                formula.jacobian.run(x, scratch);
                let size = x.len();
                formula.jacobian.outputs(scratch).enumerate().for_each(|(entry, value)| out[(entry / size, entry % size)] = value);
            }
        }
    }

    /// Whether field and Jacobian are defined and finite at a point, as far as they are known.
    ///
    /// # Panics
    /// When `x` has another size than the game.
    #[track_caller]
    pub fn is_finite_at(&self, x: &[f64]) -> bool {
        self.check_size(x.len());
        let Form::Formula(formula) = &self.form else {
            return self.field(x).iter().chain(self.jacobian(x).iter()).all(|value| value.is_finite());
        };
        let mut steps = Vec::new();
        formula.field.iter().chain([&formula.jacobian]).all(|program| {
            program.run(x, &mut steps);
            program.is_defined_at(&steps) && program.outputs(&steps).all(|value| value.is_finite())
        })
    }

    /// Numbers around `F(x)` for every `x` in a box; all numbers where it is not known to be defined.
    ///
    /// # Panics
    /// When the box has another size than the game.
    #[track_caller]
    pub fn field_box(&self, region: &[Interval]) -> Vec<Interval> {
        let Form::Formula(formula) = &self.form else { return self.field(region) };
        self.check_size(region.len());
        let mut steps = Vec::new();
        let defined = formula.field.as_ref().filter(|field| {
            field.run(region, &mut steps);
            field.is_defined(&steps)
        });
        defined.map_or_else(|| vec![Interval::ENTIRE; region.len()], |field| field.outputs(&steps).collect())
    }

    /// Numbers around `DF(x)` for every `x` in a box, row by row: by intervals, and by the mean value form; all numbers where it is not
    /// known to be defined.
    ///
    /// # Panics
    /// When the box has another size than the game.
    #[track_caller]
    pub fn jacobian_box(&self, region: &[Interval]) -> Vec<Interval> {
        self.check_size(region.len());
        let mut enclosure = Enclosure::default();
        enclosure.enclose(self, region);
        enclosure.jacobian
    }

    #[track_caller]
    fn check_size(&self, size: usize) {
        assert!(size == self.size(), "a game of {} variables got {size}", self.size());
    }

    /// Whether anything is known of the game on boxes.
    pub fn has_enclosures(&self) -> bool {
        !matches!(self.form, Form::Functions(_))
    }

    /// Whether two entries of the Jacobian, counted row by row, are known to be equal everywhere as they have one formula.
    pub(crate) fn have_one_formula(&self, a: usize, b: usize) -> bool {
        match &self.form {
            Form::Affine { jacobian, .. } => {
                let entry = |at: usize| jacobian[(at / jacobian.ncols(), at % jacobian.ncols())];
                entry(a) == entry(b)
            }
            Form::Formula(formula) => formula.jacobian.output(a) == formula.jacobian.output(b),
            Form::Functions(_) => false,
        }
    }

    /// All that the game is, as text; of functions, nothing but that. The same for the same game on every machine.
    pub fn canonical(&self) -> String {
        let form = match &self.form {
            Form::Affine { jacobian, offset } => {
                let hex = |numbers: Vec<f64>| numbers.iter().map(|x| format!("{:016x}", x.to_bits())).collect::<Vec<_>>().join(" ");
                let rows: Vec<String> = jacobian.row_iter().map(|row| hex(row.iter().copied().collect())).collect();
                format!("affine\n{}\n{}\n", rows.join("\n"), hex(offset.clone()))
            }
            Form::Formula(formula) => match &formula.field {
                Some(field) => format!("field\n{}", field.text()),
                None => format!("jacobian\n{}", formula.jacobian.text()),
            },
            Form::Functions(_) => "functions\n".into(),
        };
        format!("game {:?}\n{form}", self.dimensions)
    }
}

/// Numbers of which nothing is known.
fn unknown<R: Real>(count: usize) -> Vec<R> {
    vec![R::rounded(f64::NAN, Interval::ENTIRE); count]
}

fn numbers<R: Real>(x: &[R]) -> Option<Vec<f64>> {
    x.iter().map(|x| x.number()).collect()
}

fn check(what: &'static str, expected: usize, got: usize) -> Result<(), GameError> {
    if expected == got { Ok(()) } else { Err(GameError::Dimension { what, expected, got }) }
}

/// After each pass over formulas, so that not much is computed in vain.
fn check_room(graph: &RefCell<Graph>) -> Result<(), GameError> {
    if graph.borrow().is_full() { Err(GameError::TooLarge { most: MOST_STEPS }) } else { Ok(()) }
}

fn check_dimensions(dimensions: &[usize]) -> Result<(), GameError> {
    if dimensions.len() < 2 {
        return Err(GameError::Dimension { what: "players, at least", expected: 2, got: dimensions.len() });
    }
    if dimensions.contains(&0) {
        return Err(GameError::Dimension { what: "variables of a player, at least", expected: 1, got: 0 });
    }
    Ok(())
}

fn players(dimensions: &[usize]) -> Vec<Range<usize>> {
    let ends = dimensions.iter().scan(0, |end, size| {
        let start = *end;
        *end += size;
        Some(start..*end)
    });
    ends.collect()
}

#[cfg(test)]
mod tests;
