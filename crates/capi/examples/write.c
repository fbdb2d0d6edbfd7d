// Writes a text with a model, saves what it remembers, goes on from there in a second session, and breaks off.
//
//     cargo build --release -p ptbr-capi
//     cc crates/capi/examples/write.c -Icrates/capi/include target/release/libptbr_capi.a -lm -lpthread -ldl -o write
//     ./write model.safetensors state.file "Era uma vez"

#include <stdio.h>
#include <stdlib.h>

#include "ptbr_slm.h"

// Prints a piece; breaks off after as many as `user` points to, if it points anywhere.
static int print(const char *piece, size_t length, void *user) {
    fwrite(piece, 1, length, stdout);
    int *left = user;
    return left != NULL && --*left <= 0;
}

static void check(PtbrStatus status) {
    if (status != PTBR_STATUS_OK) {
        fprintf(stderr, "error: %s\n", ptbr_last_error());
        exit(2);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL STATE PROMPT\n", argv[0]);
        return 2;
    }
    PtbrModel *model = ptbr_model_open(argv[1]);
    if (model == NULL) {
        fprintf(stderr, "error: %s\n", ptbr_last_error());
        return 2;
    }
    PtbrSession *first = ptbr_session_new(model);
    PtbrSession *second = ptbr_session_new(model);
    // Sessions keep what they need of the model.
    ptbr_model_free(model);

    PtbrOptions options = ptbr_options_default();
    options.max_tokens = 30;
    size_t written = 0;
    printf("%s", argv[3]);
    check(ptbr_write(first, argv[3], &options, print, NULL, &written));
    printf("\n[%zu tokens]\n", written);

    check(ptbr_session_save(first, argv[2]));
    check(ptbr_session_load(second, argv[2]));
    printf("[going on after %llu]\n", (unsigned long long)ptbr_session_position(second));
    int pieces = 5;
    check(ptbr_write(second, "\nE depois", &options, print, &pieces, NULL));
    printf("\n");

    ptbr_session_free(first);
    ptbr_session_free(second);
    return 0;
}
