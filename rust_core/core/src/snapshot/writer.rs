//! Bytes of a section. Numbers are little-endian whatever the machine.

/// Where encoders put their bytes.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Room for what comes: large parts say so, or growing would copy them.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    pub fn f64(&mut self, value: f64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A number of things that follow.
    pub fn count(&mut self, count: usize) {
        self.bytes(&(count as u64).to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub fn u32s(&mut self, values: impl IntoIterator<Item = u32>) {
        values.into_iter().for_each(|value| self.u32(value));
    }

    pub fn i64s(&mut self, values: impl IntoIterator<Item = i64>) {
        values.into_iter().for_each(|value| self.i64(value));
    }

    /// Most of a snapshot: one copy, not a check of the room for each number.
    pub fn f32s(&mut self, values: &[f32]) {
        let start = self.bytes.len();
        self.bytes.resize(start + size_of_val(values), 0);
        let places = self.bytes[start..].as_chunks_mut().0;
        places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
    }

    pub fn i8s(&mut self, values: &[i8]) {
        self.bytes.extend(values.iter().map(|value| value.to_le_bytes()[0]));
    }

    /// All lengths, then all texts. A text of 4 GiB would get a length that the decoder refuses; nothing lets one in.
    pub fn strings<'a>(&mut self, strings: impl Iterator<Item = &'a str> + Clone) {
        self.u32s(strings.clone().map(|string| u32::try_from(string.len()).unwrap_or(u32::MAX)));
        strings.for_each(|string| self.bytes(string.as_bytes()));
    }
}
