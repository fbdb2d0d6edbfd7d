// Tokens a second of rwkv.cpp through its C interface: MODEL.bin THREADS PROMPT_TOKENS WRITTEN_TOKENS RUNS. The prompt is read in chunks of 16, as its documentation advises.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "rwkv.h"

static double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char ** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "MODEL.bin THREADS PROMPT_TOKENS WRITTEN_TOKENS RUNS\n");
        return 2;
    }
    rwkv_context * model = rwkv_init_from_file(argv[1], std::atoi(argv[2]), 0);
    if (!model) return 1;
    const int prompt = std::atoi(argv[3]), written = std::atoi(argv[4]), runs = std::atoi(argv[5]);
    const size_t vocab = rwkv_get_n_vocab(model);
    std::vector<float> state(rwkv_get_state_len(model)), logits(vocab);
    std::vector<uint32_t> tokens(prompt);
    for (int i = 0; i < prompt; i++) tokens[i] = (uint32_t) ((size_t) i * 7919 % vocab);
    // The first run warms up and is not shown.
    for (int run = 0; run <= runs; run++) {
        rwkv_init_state(model, state.data());
        double start = seconds();
        rwkv_eval_sequence_in_chunks(model, tokens.data(), prompt, 16, state.data(), state.data(), logits.data());
        const double prefill = prompt / (seconds() - start);
        start = seconds();
        for (int i = 0; i < written; i++) rwkv_eval(model, tokens[i % prompt], state.data(), state.data(), logits.data());
        if (run > 0) std::printf("prefill %.1f tok/s, decode %.1f tok/s\n", prefill, written / (seconds() - start));
    }
    rwkv_free(model);
    return 0;
}
