/* A library with the interface of Rockchip's librknnrt, for tests on machines without its NPU. */
#include <stdint.h>
#include <string.h>

typedef uint64_t context;

struct counts { uint32_t inputs, outputs; };

struct attributes {
  uint32_t index, n_dims, dims[16];
  char name[256];
  uint32_t n_elems, size;
  int fmt, type, qnt_type;
  int8_t fl;
  int32_t zp;
  float scale;
  uint32_t w_stride, size_with_stride;
  uint8_t pass_through;
  uint32_t h_stride;
};

struct version { char api[256], driver[256]; };

struct input {
  uint32_t index;
  void *buf;
  uint32_t size;
  uint8_t pass_through;
  int type, fmt;
};

struct output {
  uint8_t want_float, is_prealloc;
  uint32_t index;
  void *buf;
  uint32_t size;
};

static uint8_t picture[24];
static int ran;

int rknn_init(context *c, void *model, uint32_t size, uint32_t flag, void *extend) {
  if (size < 4 || memcmp(model, "RKNN", 4) != 0) return -6;
  *c = 42;
  return flag == 0 && extend == 0 ? 0 : -5;
}

int rknn_destroy(context c) { return c == 42 ? 0 : -7; }

int rknn_query(context c, int what, void *info, uint32_t size) {
  if (c != 42) return -7;
  if (what == 0 && size == sizeof(struct counts)) {
    *(struct counts *)info = (struct counts){1, 1};
    return 0;
  }
  if (what == 5 && size == sizeof(struct version)) {
    strcpy(((struct version *)info)->api, VERSION);
    return 0;
  }
  struct attributes *a = info;
  if (size != sizeof *a || a->index != 0) return -5;
  if (what == 1) {
    uint32_t dims[] = {1, 2, 4, 3};
    memcpy(a->dims, dims, sizeof dims);
    a->n_dims = 4;
    a->fmt = 1;
    a->type = 2;
    a->h_stride = 2;
    strcpy(a->name, "images");
    return 0;
  }
  if (what == 2) {
    uint32_t dims[] = {1, 2, 6};
    memcpy(a->dims, dims, sizeof dims);
    a->n_dims = 3;
    strcpy(a->name, "boxes");
    return 0;
  }
  return -5;
}

int rknn_inputs_set(context c, uint32_t n, struct input *in) {
  if (c != 42 || n != 1 || in->index != 0 || in->size != sizeof picture) return -8;
  if (in->pass_through != 0 || in->type != 3 || in->fmt != 1) return -8;
  memcpy(picture, in->buf, sizeof picture);
  return 0;
}

int rknn_run(context c, void *extend) {
  ran = 1;
  return c == 42 && extend == 0 ? 0 : -7;
}

int rknn_outputs_get(context c, uint32_t n, struct output *out, void *extend) {
  if (c != 42 || n != 1 || !ran || extend != 0) return -9;
  if (!out->want_float || !out->is_prealloc || out->index != 0 || out->size != 12 * sizeof(float)) return -9;
  float *to = out->buf;
  memset(to, 0, out->size);
  uint8_t from[] = {picture[0], picture[1], picture[2], picture[3], picture[21], picture[23]};
  for (int i = 0; i < 6; i++) to[i] = from[i];
  return 0;
}

int rknn_outputs_release(context c, uint32_t n, struct output *out) {
  ran = 0;
  return c == 42 && n == 1 && out->buf != 0 ? 0 : -9;
}
