// ptbr-slm for C: load a model, write text, remember and go on.
//
// Handles are opaque. What a ..._open or ..._new returns is freed by its ..._free, which takes null; a model may be freed before its
// sessions. Functions that can fail return null or a status other than PTBR_STATUS_OK, and ptbr_last_error says why.
//
// Threads: a model may be used by any number of threads at once. A session may be used by one thread at a time, whichever; two
// sessions of one model by two threads. Errors are remembered for each thread.
//
// Generated from crates/capi/src by `cargo xtask header`: change it there.

#ifndef PTBR_SLM_H
#define PTBR_SLM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// How a call ended.
typedef enum {
  // It did what it was asked to.
  PTBR_STATUS_OK = 0,
  // It could not; `ptbr_last_error` says why.
  PTBR_STATUS_ERROR = 1,
  // A fault of this library; `ptbr_last_error` says which. Free the handles that the call was given.
  PTBR_STATUS_PANIC = 2,
} PtbrStatus;

// A loaded model with its tokenizer.
typedef struct PtbrModel PtbrModel;

// What a model has read and written of one text.
typedef struct PtbrSession PtbrSession;

// How text is written; `ptbr_options_default` fills it in.
typedef struct {
  // Most tokens to write.
  size_t max_tokens;
  // 0 always takes the most likely token; higher writes more freely.
  float temperature;
  // Draw from the most likely tokens that together have this probability.
  float top_p;
  // Draw from this many most likely tokens; 0 is all.
  size_t top_k;
  // Above 1, tokens that were written lately become less likely.
  float repetition_penalty;
  // The same seed writes the same text.
  uint64_t seed;
} PtbrOptions;

// Gets a piece of text: `length` bytes of whole characters, no zero byte behind them, valid during the call. Returns 0 to go on; anything else breaks off the writing.
// It must not use the session that writes, and must not throw.
typedef int (*PtbrOnPiece)(const char *piece, size_t length, void *user);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Why the calling thread's last failed call failed; an empty text where none has. Valid until the thread's next call of this library.
const char *ptbr_last_error(void);

// Loads a model file, a checkpoint folder or a training output folder. Weights are mapped, not copied: the file must not be changed while the model lives.
//
// Returns null on an error.
//
// # Safety
// `path` is a text that ends with a zero byte.
PtbrModel *ptbr_model_open(const char *path);

// Loads a model file that is in memory; the bytes are copied, and are the caller's again when this returns.
//
// Returns null on an error.
//
// # Safety
// `bytes` points to `length` bytes.
PtbrModel *ptbr_model_from_bytes(const uint8_t *bytes, size_t length);

// Frees a model; null is fine. Its sessions go on.
//
// # Safety
// `model` is null or came from this library, was not freed, and is used by no other thread.
void ptbr_model_free(PtbrModel *model);

// Id of the model's weights: 64 hexadecimal digits, valid as long as the model. Null for null.
//
// # Safety
// `model` is null or came from this library and was not freed.
const char *ptbr_model_id(const PtbrModel *model);

// The library's version.
const char *ptbr_version(void);

// Begins a text. Returns null on an error.
//
// # Safety
// `model` is null or came from this library and was not freed.
PtbrSession *ptbr_session_new(const PtbrModel *model);

// Frees a session; null is fine.
//
// # Safety
// `session` is null or came from this library, was not freed, and is used by no other thread.
void ptbr_session_free(PtbrSession *session);

// Forgets everything read; the adapter stays.
//
// # Safety
// `session` is null or came from this library, was not freed, and is used by no other thread.
PtbrStatus ptbr_session_reset(PtbrSession *session);

// Tokens read so far; 0 for null.
//
// # Safety
// `session` is null or came from this library, was not freed, and is used by no other thread.
uint64_t ptbr_session_position(const PtbrSession *session);

// Takes the adapter in a folder for the tokens to come, or none for null.
//
// # Safety
// `session` as above; `folder` is null or a text that ends with a zero byte.
PtbrStatus ptbr_session_set_adapter(PtbrSession *session, const char *folder);

// Writes what the session remembers into a file.
//
// # Safety
// `session` as above; `path` is a text that ends with a zero byte.
PtbrStatus ptbr_session_save(PtbrSession *session, const char *path);

// Goes on from what `ptbr_session_save` wrote, for the same model and adapter.
//
// # Safety
// `session` as above; `path` is a text that ends with a zero byte.
PtbrStatus ptbr_session_load(PtbrSession *session, const char *path);

// 100 tokens at temperature 0.8 and top-p 0.9, seed 0: what `ptbr-slm generate` takes.
PtbrOptions ptbr_options_default(void);

// Reads `prompt` after whatever the session has read, and writes its continuation: `on_piece` gets the text as it comes, with `user`, until the text ends, `max_tokens` were
// written or it breaks off, which is no error. The number of tokens written goes to `written`, where that is not null. Null `options` are the default ones.
//
// # Safety
// `session` is null or came from this library, was not freed, and is used by no other thread; `prompt` is a text that ends with a zero byte; `options` and `written` are
// null or point to one; `on_piece` may be called with `user`.
PtbrStatus ptbr_write(PtbrSession *session,
                      const char *prompt,
                      const PtbrOptions *options,
                      PtbrOnPiece on_piece,
                      void *user,
                      size_t *written);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PTBR_SLM_H */
