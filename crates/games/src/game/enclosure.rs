//! Enclosures of Jacobians on boxes.

use super::{Change, Form, Game};
use crate::rigorous::Interval;

/// An enclosure of a Jacobian on a box, and room for the next one.
#[derive(Debug, Default)]
pub(crate) struct Enclosure {
    /// Row by row.
    pub(crate) jacobian: Vec<Interval>,
    /// The Jacobian in the middle of the box.
    pub(crate) middle: Vec<Interval>,
    /// How much each entry changes along each variable at most: `[entry, axis]`; empty where none does.
    pub(crate) changes: Vec<f64>,
    steps: Vec<Interval>,
    mean_value: Vec<Interval>,
}

impl Enclosure {
    /// Encloses the Jacobian by intervals alone, without its changes.
    pub(crate) fn enclose_directly(&mut self, game: &Game, region: &[Interval]) {
        let size = region.len() * region.len();
        self.jacobian.clear();
        match &game.form {
            Form::Affine { jacobian, .. } => self.jacobian.extend(jacobian.transpose().iter().map(|&entry| Interval::point(entry))),
            Form::Functions(_) => self.jacobian.resize(size, Interval::ENTIRE),
            Form::Formula(formula) => {
                formula.jacobian.run(region, &mut self.steps);
                if formula.jacobian.is_defined(&self.steps) {
                    self.jacobian.extend(formula.jacobian.outputs(&self.steps));
                } else {
                    self.jacobian.resize(size, Interval::ENTIRE);
                }
            }
        }
    }

    pub(crate) fn enclose(&mut self, game: &Game, region: &[Interval]) {
        let size = region.len();
        self.changes.clear();
        let formula = match &game.form {
            Form::Affine { jacobian, .. } => {
                self.jacobian.clear();
                self.jacobian.extend(jacobian.transpose().iter().map(|&entry| Interval::point(entry)));
                self.middle.clone_from(&self.jacobian);
                return;
            }
            Form::Formula(formula) => formula,
            Form::Functions(_) => {
                self.jacobian.clear();
                self.jacobian.resize(size * size, Interval::ENTIRE);
                self.middle.clone_from(&self.jacobian);
                return;
            }
        };
        self.changes.resize(size * size * size, 0.0);
        let points: Vec<Interval> = region.iter().map(|side| Interval::point(side.midpoint())).collect();
        self.middle.clear();
        formula.jacobian.run(&points, &mut self.steps);
        if formula.jacobian.is_defined(&self.steps) {
            self.middle.extend(formula.jacobian.outputs(&self.steps));
        } else {
            self.middle.resize(size * size, Interval::ENTIRE);
        }
        formula.slopes.run(region, &mut self.steps);
        self.jacobian.clear();
        if !formula.slopes.is_defined(&self.steps) {
            self.jacobian.resize(size * size, Interval::ENTIRE);
            region.iter().enumerate().for_each(|(axis, side)| {
                self.changes.iter_mut().skip(axis).step_by(size).for_each(|change| *change = side.radius());
            });
            return;
        }
        let mut outputs = formula.slopes.outputs(&self.steps);
        self.jacobian.extend(outputs.by_ref().take(size * size));
        self.mean_value.clone_from(&self.middle);
        for (slope, &Change { entry, axis }) in outputs.zip(&formula.changes) {
            self.mean_value[entry] = self.mean_value[entry] + slope * (region[axis] - points[axis]);
            self.changes[entry * size + axis] = slope.magnitude() * region[axis].radius();
        }
        // Both hold, so what they have in common does.
        for (entry, mean_value) in self.jacobian.iter_mut().zip(&self.mean_value) {
            *entry = entry.intersection(*mean_value).unwrap_or(*entry);
        }
    }
}
