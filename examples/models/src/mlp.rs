//! The model of the training case: a multi-layer perceptron with two hidden layers of ten ReLU units and one output, trained
//! by Adam on the squared error.
//!
//! Always true: the same rows give the same bits, natively and as WebAssembly, however they are cut into pieces. Units are lanes
//! that never mix, so vector instructions change no order of additions, and nothing but `+ - * /` and the square root is used, which
//! are exact everywhere. Rows are summed up in groups, and groups in order, so that groups may be computed in different places.
//!
//! Rows are read as the bytes that they are stored as: the features and then the label, as little-endian `f32`.

use std::array;

use wide::f32x4;

/// How many features the paper's product reviews have.
pub const FEATURES: usize = 6_787;
/// Rows whose gradient is summed up by itself.
pub const GROUP: usize = 128;

const UNITS: usize = 10;
/// Ten units in three vectors of four. The weights of the last two stay zero.
const LANES: usize = 12;
type Lanes = [f32; LANES];
/// The length of [`Lanes`] as bytes.
const LANES_LEN: usize = LANES * 4;
/// So many rows go through the first layer together: the weights are loaded once for all of them.
const BLOCK: usize = 4;

const RATE: f32 = 0.001;
const DECAY_1: f32 = 0.9;
const DECAY_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// How many bytes a row takes.
pub const fn row_len(features: usize) -> usize {
    (features + 1) * 4
}

/// The parameters: for each feature what it adds to each unit of the first layer, then the same for the biases and for the
/// layers above.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters(Vec<Lanes>);

/// Where the parameters of the layers above the first begin, after those of the features.
mod after_features {
    use super::UNITS;

    pub(super) const BIAS_1: usize = 0;
    pub(super) const SECOND: usize = 1;
    pub(super) const BIAS_2: usize = SECOND + UNITS;
    pub(super) const LAST: usize = BIAS_2 + 1;
    /// In the first lane.
    pub(super) const BIAS_LAST: usize = LAST + 1;
    pub(super) const COUNT: usize = BIAS_LAST + 1;
}

impl Parameters {
    /// The parameters that every training begins with.
    pub fn new(features: usize) -> Self {
        let mut noise = Noise::new(0);
        let mut layer = |inputs: usize, units: usize| {
            let limit = (6.0 / inputs as f32).sqrt();
            let weight = |lane: usize, noise: &mut Noise| if lane < units { noise.next() * limit } else { 0.0 };
            (0..inputs).map(|_| array::from_fn(|lane| weight(lane, &mut noise))).collect::<Vec<Lanes>>()
        };
        let (first, second, last) = (layer(features, UNITS), layer(UNITS, UNITS), layer(UNITS, 1));
        let zero = [0.0; LANES];
        // The last layer has one unit, so its weights lie in the lanes of what it reads.
        let last: Lanes = array::from_fn(|lane| last.get(lane).map_or(0.0, |weights| weights[0]));
        Self([&first[..], &[zero], &second, &[zero, last, zero]].concat())
    }

    /// How many bytes the parameters for so many features take.
    pub const fn len(features: usize) -> usize {
        (features + after_features::COUNT) * LANES_LEN
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&self.0)
    }

    /// From what [`Parameters::to_bytes`] gave; none if these bytes are no parameters.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        from_bytes(bytes).filter(|lanes| lanes.len() > after_features::COUNT).map(Self)
    }

    fn features(&self) -> usize {
        self.0.len() - after_features::COUNT
    }
}

/// What rows say about where the parameters should go.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    sums: Vec<Lanes>,
    loss: f32,
    rows: u32,
}

impl Gradient {
    fn zero(features: usize) -> Self {
        Self { sums: vec![[0.0; LANES]; features + after_features::COUNT], loss: 0.0, rows: 0 }
    }

    /// The gradient of these rows, of which only whole ones count.
    pub fn of(parameters: &Parameters, rows: &[u8]) -> Self {
        let mut gradient = Self::zero(parameters.features());
        gradient.see(parameters, rows);
        gradient
    }

    fn see(&mut self, parameters: &Parameters, rows: &[u8]) {
        let (values, _) = rows.as_chunks::<4>();
        let mut rows = values.chunks_exact(parameters.features() + 1);
        while rows.len() >= BLOCK {
            self.block::<BLOCK>(parameters, array::from_fn(|_| rows.next().unwrap_or_default()));
        }
        rows.for_each(|row| self.block::<1>(parameters, [row]));
    }

    fn block<const N: usize>(&mut self, parameters: &Parameters, rows: [&[Value]; N]) {
        use after_features::{BIAS_1, BIAS_2, BIAS_LAST, LAST, SECOND};

        let (first, above) = parameters.0.split_at(parameters.features());
        let (sums, sums_above) = self.sums.split_at_mut(first.len());
        let hidden = first_layer(first, &above[BIAS_1], rows).map(relu);
        let mut into_first = [[0.0; LANES]; N];
        for ((row, hidden), into_first) in rows.iter().zip(&hidden).zip(&mut into_first) {
            let mut second = above[BIAS_2];
            for (unit, weights) in hidden.iter().zip(&above[SECOND..BIAS_2]) {
                add(&mut second, *unit, weights);
            }
            let second = relu(second);
            let answer = above[BIAS_LAST][0] + dot(&second, &above[LAST]);
            let error = answer - f32::from_le_bytes(row[first.len()]);
            self.loss += error * error;
            self.rows += 1;

            let into_answer = 2.0 * error;
            sums_above[BIAS_LAST][0] += into_answer;
            add(&mut sums_above[LAST], into_answer, &second);
            let into_second = through(&second, |lane| into_answer * above[LAST][lane]);
            add(&mut sums_above[BIAS_2], 1.0, &into_second);
            for (unit, sums) in hidden.iter().zip(&mut sums_above[SECOND..BIAS_2]) {
                add(sums, *unit, &into_second);
            }
            *into_first =
                through(hidden, |lane| above.get(SECOND + lane).map_or(0.0, |weights| dot(weights, &into_second)));
            add(&mut sums_above[BIAS_1], 1.0, into_first);
        }
        add_products(sums, rows, into_first);
    }

    fn add(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sums, others)| add(sums, 1.0, others));
        self.loss += other.loss;
        self.rows += other.rows;
    }

    fn clear(&mut self) {
        self.sums.fill([0.0; LANES]);
        (self.loss, self.rows) = (0.0, 0);
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&to_bytes(&self.sums)[..], &self.loss.to_le_bytes(), &self.rows.to_le_bytes()].concat()
    }

    /// From what [`Gradient::to_bytes`] gave; none if these bytes are no gradient.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bytes, rows) = bytes.split_last_chunk()?;
        let (bytes, loss) = bytes.split_last_chunk()?;
        Some(Self { sums: from_bytes(bytes)?, loss: f32::from_le_bytes(*loss), rows: u32::from_le_bytes(*rows) })
    }
}

/// A feature of a row, as it is stored.
type Value = [u8; 4];

/// What the units of the first layer add up to. Half of all the work.
fn first_layer<const N: usize>(weights: &[Lanes], bias: &Lanes, rows: [&[Value]; N]) -> [Lanes; N] {
    let rows = rows.map(|row| &row[..weights.len()]);
    let mut units = [vectors(bias); N];
    two_by_two(weights.len(), |feature| {
        let weights = vectors(&weights[feature]);
        for (units, row) in units.iter_mut().zip(&rows) {
            *units = plus(*units, row[feature], weights);
        }
    });
    units.map(lanes)
}

/// Adds to the gradient of the first layer what each row says. The other half.
fn add_products<const N: usize>(sums: &mut [Lanes], rows: [&[Value]; N], into_first: [Lanes; N]) {
    let rows = rows.map(|row| &row[..sums.len()]);
    let into_first = into_first.map(|lanes| vectors(&lanes));
    two_by_two(sums.len(), |feature| {
        let mut sum = vectors(&sums[feature]);
        for (into_first, row) in into_first.iter().zip(&rows) {
            sum = plus(sum, row[feature], *into_first);
        }
        sums[feature] = lanes(sum);
    });
}

/// A loop over `0..count` of half as many turns: at each turn a guest looks whether its time is up, which costs a third of a
/// turn of one.
#[inline(always)]
fn two_by_two(count: usize, mut each: impl FnMut(usize)) {
    for pair in 0..count / 2 {
        each(2 * pair);
        each(2 * pair + 1);
    }
    if count % 2 == 1 {
        each(count - 1);
    }
}

/// [`Lanes`] as vectors, which are one register each.
type Vectors = [f32x4; LANES / 4];

#[inline(always)]
fn vectors(lanes: &Lanes) -> Vectors {
    let (quarters, _) = lanes.as_chunks::<4>();
    [f32x4::new(quarters[0]), f32x4::new(quarters[1]), f32x4::new(quarters[2])]
}

#[inline(always)]
fn lanes(vectors: Vectors) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes.as_chunks_mut::<4>().0.iter_mut().zip(vectors).for_each(|(to, from)| *to = from.to_array());
    lanes
}

/// `to + factor * by`.
#[inline(always)]
fn plus(to: Vectors, factor: Value, by: Vectors) -> Vectors {
    let factor = f32x4::splat(f32::from_le_bytes(factor));
    [to[0] + factor * by[0], to[1] + factor * by[1], to[2] + factor * by[2]]
}

/// A training: the parameters, and what Adam remembers of the steps before.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainer {
    parameters: Parameters,
    mean: Vec<Lanes>,
    variance: Vec<Lanes>,
    steps: u32,
    /// Of this step's groups that are whole.
    total: Gradient,
    /// Of the group that is not.
    group: Gradient,
}

impl Trainer {
    /// A training that begins.
    pub fn new(features: usize) -> Self {
        let zero = vec![[0.0; LANES]; features + after_features::COUNT];
        Self::with(Parameters::new(features), zero.clone(), zero, 0)
    }

    fn with(parameters: Parameters, mean: Vec<Lanes>, variance: Vec<Lanes>, steps: u32) -> Self {
        let zero = Gradient::zero(parameters.features());
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
        let row_len = row_len(self.parameters.features());
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
        let fits = group.sums.len() == self.total.sums.len();
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
        let moments = self.mean.as_flattened_mut().iter_mut().zip(self.variance.as_flattened_mut());
        let parameters = self.parameters.0.as_flattened_mut().iter_mut().zip(self.total.sums.as_flattened());
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
        let parts = [&self.parameters.0, &self.mean, &self.variance].map(|lanes| to_bytes(lanes));
        [&parts.concat()[..], &self.steps.to_le_bytes()].concat()
    }

    /// From what [`Trainer::to_bytes`] gave; none if these bytes are no training.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bytes, steps) = bytes.split_last_chunk()?;
        let third = bytes.len() / 3;
        let parameters = Parameters::from_bytes(bytes.get(..third)?)?;
        let (mean, variance) = (from_bytes(&bytes[third..2 * third])?, from_bytes(&bytes[2 * third..])?);
        Some(Self::with(parameters, mean, variance, u32::from_le_bytes(*steps)))
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

fn relu(units: Lanes) -> Lanes {
    units.map(|unit| if unit > 0.0 { unit } else { 0.0 })
}

/// What goes back into units: nothing into those that were off.
fn through(units: &Lanes, slope: impl Fn(usize) -> f32) -> Lanes {
    array::from_fn(|lane| if units[lane] > 0.0 { slope(lane) } else { 0.0 })
}

fn add(to: &mut Lanes, factor: f32, lanes: &Lanes) {
    to.iter_mut().zip(lanes).for_each(|(to, lane)| *to += factor * lane);
}

fn dot(a: &Lanes, b: &Lanes) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn to_bytes(lanes: &[Lanes]) -> Vec<u8> {
    let mut bytes = vec![0; lanes.len() * LANES_LEN];
    let (places, _) = bytes.as_chunks_mut();
    places.iter_mut().zip(lanes.as_flattened()).for_each(|(place, value)| *place = value.to_le_bytes());
    bytes
}

fn from_bytes(bytes: &[u8]) -> Option<Vec<Lanes>> {
    let (values, []) = bytes.as_chunks::<4>() else { return None };
    let (lanes, []) = values.as_chunks::<LANES>() else { return None };
    Some(lanes.iter().map(|values| values.map(f32::from_le_bytes)).collect())
}

#[cfg(test)]
mod tests;
