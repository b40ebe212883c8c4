// mla_decode on compute capability 9.0: the group of threads that brings blocks of keys.
//
// Whole blocks of a bf16 page come by the copy engine. Gathered rows, and the last ones of a list, are copied by threads: eight to
// a row, 16 bytes each of every tile. fp8 rows are widened on their way; a part's codes are read while the part before it is
// widened.
#pragma once

#include "ops/mla_decode/sm90.cuh"

namespace sluice::mla_sm90 {

// 8 codes of e4m3 times their scale, as bf16.
__device__ inline uint4 widen_codes(uint2 codes, float scale) {
  const uint32_t in[2] = {codes.x, codes.y};
  uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = cuda::to_float_pair_e4m3(uint16_t(in[i / 2] >> (i % 2 * 16)));
    out[i] = ptx::pack_bf16(x.x * scale, x.y * scale);
  }
  return make_uint4(out[0], out[1], out[2], out[3]);
}

template <bool kFp8>
class Loader {
 public:
  __device__ Loader(const Params& p, Shared& shared)
      : p_(p),
        c_(p.call),
        shared_(shared),
        thread_(int(threadIdx.x) % kGroup),
        lane_(thread_ % kWarp),
        place_(place_in_tile(thread_ / 8, thread_ % 8)) {}

  __device__ void run_bf16() {
    look_up_first();
    for (int n = 0; n < count(); ++n) {
      next_block(n);
      const Rows rows = rows_of(n);
      const bool whole = p_.by_engine && (block(n) + 1) * kBlock <= shared_.work.list.count;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        begin_part(n, part);
        if (whole) bring(n, part);
        else gather(n, part, rows);
      }
    }
    ptx::cp_async_wait<0>();
  }

  __device__ void run_fp8() {
    look_up_first();
    read(rows_of(0), first_tile(0, kOwn));
    for (int n = 0; n < count(); ++n) {
      next_block(n);
      const Rows rows = rows_of(n);
      begin_part(n, kOwn);
      copy_rope(n, rows);
      widen(n, kOwn, rows, first_tile(n, kOther));
      end_part(n, kOwn);
      begin_part(n, kOther);
      widen(n, kOther, rows_of(n + 1), first_tile(n + 1, kOwn));
      end_part(n, kOther);
    }
  }

 private:
  static constexpr int kStripRows = kGroup / 8, kStrips = kBlock / kStripRows;  // rows that are copied at a time

  // The rows of a block that this thread copies a part of.
  struct Rows {
    uint32_t at[kStrips];
  };
  __device__ bool has(const Rows& rows, int i) const { return rows.at[i] != kNoRow; }
  __device__ const char* from(const Rows& rows, int i) const { return c_.keys.kv + (has(rows, i) ? rows.at[i] : 0) * uint64_t(16); }
  __device__ Rows rows_of(int n) const {
    Rows rows;
#pragma unroll
    for (int i = 0; i < kStrips; ++i) rows.at[i] = shared_.rows[n % kLookedUp][i * kStripRows + thread_ / 8];
    return rows;
  }

  __device__ int count() const { return shared_.stretch.count; }
  __device__ int64_t block(int n) const { return shared_.stretch.begin + n; }
  // Of the latent's tiles in a part.
  static __device__ int first_tile(int n, int part) { return (n + part) % 2 * kHalfTiles; }
  __device__ uint64_t* full(int n, int part) { return &shared_.full[n % 2][part]; }
  __device__ uint8_t* tile(int n, int t) { return shared_.keys[n % 2][t]; }

  // --- where rows lie ---

  // What the list says of this thread's key of block n, on its way: a key to every other thread.
  __device__ void find(int n) { entry_ = c_.keys.entry(shared_.work.list, block(n) * kBlock + thread_ / 2); }
  // Where that key's row lies, for all threads.
  __device__ void look_up(int n) {
    const char* row = thread_ % 2 == 0 && n < count() ? c_.keys.row_of(entry_, block(n) * kBlock + thread_ / 2) : nullptr;
    if (thread_ % 2 == 0) shared_.rows[n % kLookedUp][thread_ / 2] = row ? uint32_t((row - c_.keys.kv) / 16) : kNoRow;
    if (thread_ == 0) shared_.page[n % kLookedUp] = entry_;
  }
  __device__ void look_up_first() {
    for (int n = 0; n < kAhead; ++n) find(n), look_up(n);
    find(kAhead);
    ptx::named_barrier(kLoadBarrier, kGroup);
  }
  __device__ void next_block(int n) {
    look_up(n + kAhead);
    find(n + kAhead + 1);
    ptx::named_barrier(kLoadBarrier, kGroup);  // and all threads are done with the block before
  }

  __device__ void begin_part(int n, int part) {
    ptx::mbarrier_wait(&shared_.empty[n % 2][part], uint32_t(n / 2 + 1) & 1);
    if (part != kOwn || thread_ >= kBlock) return;
    const uint32_t valid = __ballot_sync(0xffffffffu, shared_.rows[n % kLookedUp][thread_] != kNoRow);
    if (lane_ != 0) return;
    shared_.valid[n % 2][thread_ / kWarp] = valid;
    ptx::mbarrier_arrive(full(n, part));
  }

  // --- bf16 rows ---

  __device__ void bring(int n, int part) {
    if (thread_ != 0) return ptx::mbarrier_arrive(full(n, part));
    const int page = shared_.page[n % kLookedUp], row = int(uint32_t(block(n) * kBlock) % uint32_t(c_.keys.page));
    ptx::mbarrier_arrive_expect(full(n, part), (kHalfTiles + (part == kOwn)) * kTileBytes);
    const auto load = [&](int t) { ptx::tma_load_3d(tile(n, t), &p_.rows, t * 64, page, row, full(n, part)); };
    for (int t = 0; t < kHalfTiles; ++t) load(first_tile(n, part) + t);
    if (part == kOwn) load(kRopeTile);
  }
  __device__ void copy_tile(int n, int t, const Rows& rows, int64_t offset) {
    const uint32_t to = ptx::shared_address(tile(n, t)) + place_;
#pragma unroll
    for (int i = 0; i < kStrips; ++i)
      ptx::cp_async_16(to + i * kStripRows * 128, from(rows, i) + offset + thread_ % 8 * 16, has(rows, i));
  }
  __device__ void gather(int n, int part, const Rows& rows) {
#pragma unroll
    for (int t = 0; t < kHalfTiles; ++t) copy_tile(n, first_tile(n, part) + t, rows, (first_tile(n, part) + t) * 128);
    if (part == kOwn) copy_tile(n, kRopeTile, rows, kRopeTile * 128);
    ptx::cp_async_arrive(full(n, part));
  }

  // --- fp8 rows ---

  __device__ void copy_rope(int n, const Rows& rows) {
    copy_tile(n, kRopeTile, rows, kFp8Bytes - 2 * kRope);
    ptx::cp_async_commit();
  }
  // Codes and scales of half a latent from tile `first` on.
  __device__ void read(const Rows& rows, int first) {
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      read_scales(rows, i, first);
#pragma unroll
      for (int t = 0; t < kHalfTiles; ++t) read_codes(rows, i, first, t);
    }
  }
  __device__ void read_scales(const Rows& rows, int i, int first) {
    scales_[i] = has(rows, i) ? *reinterpret_cast<const float2*>(from(rows, i) + kLatent + first * 64 / kMlaScaleGroup * 4)
                              : make_float2(0, 0);
  }
  __device__ void read_codes(const Rows& rows, int i, int first, int t) {
    codes_[i][t] =
        has(rows, i) ? *reinterpret_cast<const uint2*>(from(rows, i) + (first + t) * 64 + thread_ % 8 * 8) : make_uint2(0, 0);
  }
  // The codes that were read, to block n; behind each the code that is next in its place.
  __device__ void widen(int n, int part, const Rows& next, int next_tile) {
#pragma unroll
    for (int i = 0; i < kStrips; ++i) {
      const float2 scales = scales_[i];
      read_scales(next, i, next_tile);
#pragma unroll
      for (int t = 0; t < kHalfTiles; ++t) {
        const uint4 wide = widen_codes(codes_[i][t], t / 2 ? scales.y : scales.x);
        *reinterpret_cast<uint4*>(tile(n, first_tile(n, part) + t) + place_ + i * kStripRows * 128) = wide;
        read_codes(next, i, next_tile, t);
      }
    }
  }
  __device__ void end_part(int n, int part) {
    if (part == kOwn) ptx::cp_async_wait<0>();
    ptx::mbarrier_arrive(full(n, part));
  }

  const Params& p_;
  const Call& c_;
  Shared& shared_;
  const int thread_, lane_;
  const uint32_t place_;
  int32_t entry_ = -1;
  uint2 codes_[kStrips][kHalfTiles];
  float2 scales_[kStrips];
};

}  // namespace sluice::mla_sm90
