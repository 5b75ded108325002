//! The model of the training case: a multi-layer perceptron with two hidden layers of ten ReLU units and one output, trained
//! by Adam on the squared error.
//!
//! Always true: the same rows give the same bits, natively and as WebAssembly, however they are cut into pieces. A unit adds up the
//! features in four lanes that never mix before the end, so vector instructions change no order of additions, and nothing but
//! `+ - * /`, the fused multiply-add and the square root is used, which are exact everywhere. Rows are summed up in groups, and
//! groups in order, so that groups may be computed in different places.
//!
//! Rows are read as the bytes that they are stored as: the features and then the label, as little-endian `f32`.

use std::array;

use first_layer::{Row, STEP, Weights, add_products, add_up};

mod first_layer;
mod four;

/// How many features the paper's product reviews have.
pub const FEATURES: usize = 6_787;
/// Rows whose gradient is summed up by itself.
pub const GROUP: usize = 128;

const UNITS: usize = 10;
/// A number for each unit of a layer.
type Units = [f32; UNITS];
/// So many rows go through the first layer together.
const BLOCK: usize = 32;

const RATE: f32 = 0.001;
const DECAY_1: f32 = 0.9;
const DECAY_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// How many bytes a row takes.
pub const fn row_len(features: usize) -> usize {
    (features + 1) * 4
}

/// A number for each parameter.
#[derive(Clone, Debug, PartialEq)]
struct Numbers {
    features: usize,
    /// First what each unit makes of a step of features, and of the next step. Then for each input of the layers above what it adds to
    /// each unit.
    all: Vec<f32>,
}

/// Where the parameters above the weights of the first layer are.
mod above {
    use super::UNITS;

    pub(super) const BIAS_1: usize = 0;
    pub(super) const SECOND: usize = 1;
    pub(super) const BIAS_2: usize = SECOND + UNITS;
    /// The last layer has one unit, so its weights lie where the units are that it reads.
    pub(super) const LAST: usize = BIAS_2 + 1;
    /// The first number. The others stay zero.
    pub(super) const BIAS_LAST: usize = LAST + 1;
    pub(super) const COUNT: usize = BIAS_LAST + 1;
}

impl Numbers {
    fn zero(features: usize) -> Self {
        Self { features, all: vec![0.0; Self::count(features)] }
    }

    const fn count(features: usize) -> usize {
        (features.next_multiple_of(STEP) + above::COUNT) * UNITS
    }

    fn split(&self) -> (&[Weights], &[Units]) {
        let (first, above) = self.all.split_at(self.all.len() - above::COUNT * UNITS);
        (first.as_chunks().0.as_chunks().0, above.as_chunks().0)
    }

    fn split_mut(&mut self) -> (&mut [Weights], &mut [Units]) {
        let at = self.all.len() - above::COUNT * UNITS;
        let (first, above) = self.all.split_at_mut(at);
        (first.as_chunks_mut().0.as_chunks_mut().0, above.as_chunks_mut().0)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.all.len() * 4];
        bytes.as_chunks_mut().0.iter_mut().zip(&self.all).for_each(|(place, number)| *place = number.to_le_bytes());
        bytes
    }

    fn from_bytes(features: usize, bytes: &[u8]) -> Option<Self> {
        let all = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        (bytes.len() == Self::count(features) * 4).then_some(Self { features, all })
    }
}

/// What a training changes: the weights and biases.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters(Numbers);

impl Parameters {
    /// The parameters that every training begins with.
    pub fn new(features: usize) -> Self {
        let mut noise = Noise::new(0);
        let mut numbers = Numbers::zero(features);
        let mut weight = |inputs: usize| noise.next() * (6.0 / inputs as f32).sqrt();
        let (first, above) = numbers.split_mut();
        for feature in 0..features {
            first[feature / STEP].iter_mut().for_each(|weights| weights[feature % STEP] = weight(features));
        }
        above[above::SECOND..above::BIAS_2].as_flattened_mut().fill_with(|| weight(UNITS));
        above[above::LAST].fill_with(|| weight(UNITS));
        Self(numbers)
    }

    /// How many bytes the parameters for so many features take.
    pub const fn len(features: usize) -> usize {
        Numbers::count(features) * 4
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// From what [`Parameters::to_bytes`] gave; none if these bytes are no parameters for so many features.
    pub fn from_bytes(features: usize, bytes: &[u8]) -> Option<Self> {
        Numbers::from_bytes(features, bytes).map(Self)
    }
}

/// What rows say about where the parameters should go.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    sums: Numbers,
    loss: f32,
    rows: u32,
}

impl Gradient {
    fn zero(features: usize) -> Self {
        Self { sums: Numbers::zero(features), loss: 0.0, rows: 0 }
    }

    /// The gradient of these rows, of which only whole ones count.
    pub fn of(parameters: &Parameters, rows: &[u8]) -> Self {
        let mut gradient = Self::zero(parameters.0.features);
        gradient.see(parameters, rows);
        gradient
    }

    fn see(&mut self, parameters: &Parameters, rows: &[u8]) {
        let row = parameters.0.features + 1;
        let rows: Vec<_> = rows.as_chunks().0.chunks_exact(row).map(Row::new).collect();
        rows.chunks(BLOCK).for_each(|rows| self.block(parameters, rows));
    }

    fn block(&mut self, parameters: &Parameters, rows: &[Row]) {
        let (first, above) = parameters.0.split();
        let mut units = add_up(first, rows);
        for (units, row) in units.iter_mut().zip(rows) {
            *units = self.above(above, units, row.label());
        }
        add_products(self.sums.split_mut().0, rows, &units);
    }

    /// Everything above the weights of the first layer, for a row: what goes back into its units, after what they add up to.
    fn above(&mut self, parameters: &[Units], units: &Units, label: f32) -> Units {
        use above::{BIAS_1, BIAS_2, BIAS_LAST, LAST, SECOND};

        let (_, sums) = self.sums.split_mut();
        let mut first = *units;
        add(&mut first, 1.0, &parameters[BIAS_1]);
        let first = relu(first);
        let mut second = parameters[BIAS_2];
        for (unit, weights) in first.iter().zip(&parameters[SECOND..BIAS_2]) {
            add(&mut second, *unit, weights);
        }
        let second = relu(second);
        let answer = parameters[BIAS_LAST][0] + dot(&second, &parameters[LAST]);
        let error = answer - label;
        self.loss += error * error;
        self.rows += 1;

        let into_answer = 2.0 * error;
        sums[BIAS_LAST][0] += into_answer;
        add(&mut sums[LAST], into_answer, &second);
        let into_second = through(&second, |unit| into_answer * parameters[LAST][unit]);
        add(&mut sums[BIAS_2], 1.0, &into_second);
        for (unit, sums) in first.iter().zip(&mut sums[SECOND..BIAS_2]) {
            add(sums, *unit, &into_second);
        }
        let into_first = through(&first, |unit| dot(&parameters[SECOND + unit], &into_second));
        add(&mut sums[BIAS_1], 1.0, &into_first);
        into_first
    }

    fn add(&mut self, other: &Self) {
        self.sums.all.iter_mut().zip(&other.sums.all).for_each(|(sum, other)| *sum += other);
        self.loss += other.loss;
        self.rows += other.rows;
    }

    fn clear(&mut self) {
        self.sums.all.fill(0.0);
        (self.loss, self.rows) = (0.0, 0);
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.sums.to_bytes()[..], &self.loss.to_le_bytes(), &self.rows.to_le_bytes()].concat()
    }

    /// From what [`Gradient::to_bytes`] gave; none if these bytes are no gradient for so many features.
    pub fn from_bytes(features: usize, bytes: &[u8]) -> Option<Self> {
        let (bytes, rows) = bytes.split_last_chunk()?;
        let (bytes, loss) = bytes.split_last_chunk()?;
        let sums = Numbers::from_bytes(features, bytes)?;
        Some(Self { sums, loss: f32::from_le_bytes(*loss), rows: u32::from_le_bytes(*rows) })
    }
}

/// A training: the parameters, and what Adam remembers of the steps before.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainer {
    parameters: Parameters,
    mean: Numbers,
    variance: Numbers,
    steps: u32,
    /// Of this step's groups that are whole.
    total: Gradient,
    /// Of the group that is not.
    group: Gradient,
}

impl Trainer {
    /// A training that begins.
    pub fn new(features: usize) -> Self {
        Self::with(Parameters::new(features), Numbers::zero(features), Numbers::zero(features), 0)
    }

    fn with(parameters: Parameters, mean: Numbers, variance: Numbers, steps: u32) -> Self {
        let zero = Gradient::zero(parameters.0.features);
        Self { parameters, mean, variance, steps, total: zero.clone(), group: zero }
    }

    /// The parameters after the last step.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Looks at rows of a batch, of which only whole ones count. They may come in pieces of any number of rows.
    pub fn see(&mut self, rows: &[u8]) {
        let row_len = row_len(self.parameters.0.features);
        let mut rest = &rows[..rows.len() - rows.len() % row_len];
        while !rest.is_empty() {
            let missing = (GROUP - self.group.rows as usize) * row_len;
            let (rows, after) = rest.split_at(missing.min(rest.len()));
            self.group.see(&self.parameters, rows);
            if self.group.rows as usize == GROUP {
                self.close_group();
            }
            rest = after;
        }
    }

    /// Takes the gradient of a group that was computed elsewhere; false if it is of another model.
    pub fn take(&mut self, group: &Gradient) -> bool {
        let fits = group.sums.features == self.total.sums.features;
        if fits {
            self.total.add(group);
        }
        fits
    }

    /// Ends a batch: changes the parameters, and gives the mean loss that the batch had before.
    pub fn step(&mut self) -> f32 {
        self.close_group();
        let count = self.total.rows.max(1) as f32;
        let loss = self.total.loss / count;
        self.steps += 1;
        let power = |base: f32| (0..self.steps).fold(1.0, |power, _| power * base);
        let (unbias_1, unbias_2) = (1.0 - power(DECAY_1), 1.0 - power(DECAY_2));
        let moments = self.mean.all.iter_mut().zip(&mut self.variance.all);
        let parameters = self.parameters.0.all.iter_mut().zip(&self.total.sums.all);
        for ((parameter, sum), (mean, variance)) in parameters.zip(moments) {
            let slope = sum / count;
            *mean = DECAY_1 * *mean + (1.0 - DECAY_1) * slope;
            *variance = DECAY_2 * *variance + (1.0 - DECAY_2) * slope * slope;
            *parameter -= RATE * (*mean / unbias_1) / ((*variance / unbias_2).sqrt() + EPSILON);
        }
        self.total.clear();
        loss
    }

    fn close_group(&mut self) {
        self.total.add(&self.group);
        self.group.clear();
    }

    /// The training between two steps, as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = [&self.parameters.0, &self.mean, &self.variance].map(Numbers::to_bytes);
        [&parts.concat()[..], &self.steps.to_le_bytes()].concat()
    }

    /// From what [`Trainer::to_bytes`] gave; none if these bytes are no training for so many features.
    pub fn from_bytes(features: usize, bytes: &[u8]) -> Option<Self> {
        let (bytes, steps) = bytes.split_last_chunk()?;
        let mut parts = bytes.chunks(Parameters::len(features));
        let mut part = || Numbers::from_bytes(features, parts.next()?);
        let training = Self::with(Parameters(part()?), part()?, part()?, u32::from_le_bytes(*steps));
        parts.next().is_none().then_some(training)
    }
}

/// Makes the rows of a batch. What is to be learned of them: a few features decide the label, two of them only together.
pub fn make_batch(seed: u64, features: usize, rows: usize) -> Vec<u8> {
    let mut noise = Noise::new(seed.wrapping_add(1));
    let mut bytes = Vec::with_capacity(rows * row_len(features));
    let mut row = vec![0.0f32; features];
    for _ in 0..rows {
        row.fill_with(|| noise.next());
        let label = 2.0 * row[0] - row[1] + row[features / 2] + (row[2] + row[3]).max(0.0);
        row.iter().chain([&label]).for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    }
    bytes
}

/// Numbers between -1 and 1 that depend on nothing but a seed: SplitMix64.
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd129_0d3c_6ad3_2f55))
    }

    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The highest 24 bits: as many as an f32 holds.
        ((mixed ^ mixed >> 31) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn relu(units: Units) -> Units {
    units.map(|unit| if unit > 0.0 { unit } else { 0.0 })
}

/// What goes back into units: nothing into those that were off.
fn through(units: &Units, slope: impl Fn(usize) -> f32) -> Units {
    array::from_fn(|unit| if units[unit] > 0.0 { slope(unit) } else { 0.0 })
}

fn add(to: &mut Units, factor: f32, units: &Units) {
    to.iter_mut().zip(units).for_each(|(to, unit)| *to += factor * unit);
}

fn dot(a: &Units, b: &Units) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

#[cfg(test)]
mod tests;
