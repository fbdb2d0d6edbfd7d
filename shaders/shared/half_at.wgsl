// One of two halves: the element `at` of f16 numbers packed two to a word, of which `word` is the one that holds it.

fn half_at(word: u32, at: u32) -> f32 {
    let pair = unpack2x16float(word);
    return select(pair.x, pair.y, (at & 1u) == 1u);
}
