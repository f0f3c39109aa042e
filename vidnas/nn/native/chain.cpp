// Stages of convolution, norm, gates and activation as one pass after another over pieces that stay in a core's cache.
//
// What a stage reads of the one before, act(x * scale + shift), is made piece by piece and thrown away; only the
// convolutions' outputs are whole tensors. Going back, so is the gradient of what a convolution wrote: from a piece of it
// follow its shares of both gradients of the convolution, and of the sums that the norm before needs.
#include <memory>
#include <utility>

#include "norm_step.h"

namespace {

constexpr int64_t kPiece = 1 << 20;  // bytes of the rows of a piece

typedef std::unique_ptr<float[]> Room;  // not filled

Room room_for(int64_t count) { return Room(new float[count]); }

int64_t positions_in(const Stage& s) {
  const Geometry& g = s.geometry;
  return s.depthwise ? g.t * g.h * g.w : s.norm.positions;
}

// A stage's rows, cut into pieces: whole samples, or parts of one where it is large and a matrix product can be cut. What is
// found per sample does not depend on the number of threads.
class Pieces {
 public:
  // `tensors`: of the size of output and input that a piece reads and writes.
  Pieces(const Stage& s, int64_t tensors, int threads) : samples_(s.norm.samples), positions_(s.norm.positions) {
    const int64_t in = positions_in(s);
    const int64_t bytes = tensors * int64_t(sizeof(float)) * (positions_ * s.norm.channels + in * s.inputs);
    if (!s.depthwise && bytes > 2 * kPiece) {
      const int64_t parts = (bytes + kPiece - 1) / kPiece;
      part_ = ((positions_ + parts - 1) / parts + 55) / 56 * 56;
      per_sample_ = (positions_ + part_ - 1) / part_;
      count_ = samples_ * per_sample_;
    } else {
      of_piece_ = std::clamp<int64_t>(kPiece / bytes, 1, (samples_ + threads - 1) / threads);
      count_ = (samples_ + of_piece_ - 1) / of_piece_;
    }
    // Few large samples: all threads on each.
    parts = count_ < threads && s.depthwise ? 1 : int(std::min<int64_t>(threads, count_));
    inner_threads = parts == 1 && s.depthwise ? threads : 1;
  }

  Piece operator[](int64_t i) const {
    if (per_sample_ == 1) {
      const int64_t first = i * of_piece_;
      return {first, std::min(of_piece_, samples_ - first), 0, positions_};
    }
    const int64_t first = i % per_sample_ * part_;
    return {i / per_sample_, 1, first, std::min(part_, positions_ - first)};
  }

  int64_t most_samples() const { return of_piece_; }
  int64_t most_positions() const { return per_sample_ == 1 ? positions_ : part_; }

  // Which of the numbers of shares, (shares, C), is a piece's first.
  int64_t share(int64_t i) const { return per_sample_ == 1 ? i * of_piece_ : i; }
  int64_t shares() const { return samples_ * per_sample_; }
  int64_t shares_of_sample() const { return per_sample_; }

  // Calls body(part, piece) for all pieces, those of a part one after another; room(part) comes before.
  template <class Make, class Body>
  void each(Make make, Body body) const {
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int64_t part = 0; part < parts; ++part) {
      auto room = make();
      for (int64_t i = count_ * part / parts; i < count_ * (part + 1) / parts; ++i) body(room, part, i);
    }
  }

  int parts, inner_threads;

 private:
  int64_t samples_, positions_, of_piece_ = 1, part_ = 0, per_sample_ = 1, count_;
};

// What a stage reads: the chain's input, or what the stage before gives.
class Source {
 public:
  Source(const Kernels& kernels, const Stage* stage, int64_t index, const float* x)
      : kernels_(kernels), x_(x), depthwise_(stage->depthwise), channels_(stage->inputs), positions_(positions_in(*stage)) {
    if (index) before_ = &stage[-1].norm;
  }

  // Of a piece, in the room where it is not in memory already; `slope` as in Kernels.apply.
  const float* rows(const Piece& piece, float* room, float* slope, int threads) const {
    if (!before_) return x_ + first(piece);
    Norm rows = rows_of(*before_, piece);
    rows.y = room;
    kernels_.apply(rows, slope, threads);
    return room;
  }

  bool swishes() const { return before_ && before_->act == kSilu; }

  int64_t first(const Piece& piece) const { return (piece.sample * positions_ + piece.position) * channels_; }

  // A piece of what the stage gives -> that of what it reads.
  Piece under(const Piece& piece) const {
    return depthwise_ ? Piece{piece.sample, piece.samples, 0, positions_} : piece;
  }

 private:
  const Kernels& kernels_;
  const float* x_;
  int64_t depthwise_, channels_, positions_;
  const Norm* before_ = nullptr;
};

// A weight as the passes want it.
std::vector<float> packed(const Kernels& kernels, const Stage& s, Pass pass) {
  if (s.depthwise) return {};
  const int64_t in = s.inputs, out = s.norm.channels;
  std::vector<float> weights(pass == kForward ? kernels.packed_weights(in, out) : kernels.packed_weights(out, in));
  kernels.pack_pointwise(pass, in, out, s.weight, weights.data());
  return weights;
}

// kForward or kInputGradient of a piece.
void convolve(const Kernels& kernels, const Stage& s, Pass pass, const Piece& piece, const std::vector<float>& weights,
              const float* from, float* to, int threads) {
  if (s.depthwise) {
    Geometry g = s.geometry;
    g.n = piece.samples;
    return kernels.depthwise(pass, kFloat, g, from, s.weight, to, threads);
  }
  const int64_t in = s.inputs, out = s.norm.channels;
  kernels.rows_product(piece.samples * piece.positions, pass == kForward ? in : out, pass == kForward ? out : in, from,
                       weights.data(), to, threads);
}

void run_forward(const Kernels& kernels, const Stage* stages, int64_t i, const float* x, int threads) {
  const Stage& s = stages[i];
  const Norm& norm = s.norm;
  const int64_t C = norm.channels;
  const Source source(kernels, stages + i, i, x);
  const std::vector<float> weights = packed(kernels, s, kForward);
  const Pieces pieces(s, 1, threads);
  const bool measures = norm.of_batch || norm.squeezed;
  Numbers means(measures ? pieces.shares() * C : 0), squares(means.size());
  const int64_t largest = i ? pieces.most_samples() * (s.depthwise ? positions_in(s) : pieces.most_positions()) * s.inputs : 0;
  pieces.each([&] { return room_for(largest); }, [&](const Room& room, int64_t, int64_t index) {
    const Piece piece = pieces[index];
    const Norm rows = rows_of(norm, piece);
    float* to = s.output + (rows.x - norm.x);
    const float* from = source.rows(source.under(piece), room.get(), nullptr, pieces.inner_threads);
    convolve(kernels, s, kForward, piece, weights, from, to, pieces.inner_threads);
    const int64_t share = pieces.share(index) * C;
    if (measures) kernels.moments(rows, means.data() + share, squares.data() + share, pieces.inner_threads);
  });
  if (const int64_t shares = pieces.shares_of_sample(); shares > 1 && measures) {
    Numbers mean(norm.samples * C), square(norm.samples * C);
    for (int64_t n = 0; n < norm.samples; ++n)
      join_moments(shares, C, [&](int64_t share) { return double(pieces[share].positions); },
                   means.data() + n * shares * C, squares.data() + n * shares * C, mean.data() + n * C,
                   square.data() + n * C);
    means.swap(mean), squares.swap(square);
  }
  find_coefficients(norm, means, squares);
}

// Sums over the shares of each sample.
void add_shares(int64_t samples, int64_t shares, int64_t C, Numbers& numbers) {
  if (shares == 1 || numbers.empty()) return;
  Numbers sums(samples * C);
  for (int64_t i = 0; i < samples * shares; ++i)
    for (int64_t c = 0; c < C; ++c) sums[i / shares * C + c] += numbers[i * C + c];
  numbers.swap(sums);
}

// What a stage leaves to the one before.
struct Back {
  Room grad;  // of the input of the activation before
  Numbers products, totals;
};

// The gradients of one stage's parameters, and of what it reads: into dx, or into memory of its own.
Back run_backward(const Kernels& kernels, const Stage* stages, const StageGradient& g, int64_t i, const float* x,
                  const float* grad, bool is_last, const Numbers& products, const Numbers& totals, float* dx, bool adds,
                  int threads) {
  const Stage& s = stages[i];
  const Norm& norm = s.norm;
  const int64_t in = s.inputs, out = norm.channels;
  const Slopes found = find_gradients(norm, g.norm, products, totals);
  const Source source(kernels, stages + i, i, x);
  const Pieces pieces(s, 3, threads);
  const std::vector<float> weights = packed(kernels, s, kInputGradient);
  const int64_t size = s.depthwise ? in * s.geometry.kt * s.geometry.kh * s.geometry.kw : kernels.packed_weights(out, in);
  std::vector<float> sums(pieces.parts * size);
  Back back;
  if (i) {
    back.grad = room_for(norm.samples * positions_in(s) * in);
    back.products.resize(pieces.shares() * in), back.totals.resize(pieces.shares() * in);
  }
  float* const target = i ? back.grad.get() : dx;
  const int64_t rows_out = pieces.most_samples() * pieces.most_positions();
  const int64_t rows_in = s.depthwise ? pieces.most_samples() * positions_in(s) : rows_out;
  struct Rooms {
    Room dz, from, slope, added;
    std::vector<float> weight;
  };
  const auto make = [&] {
    const int64_t read = rows_in * in;
    return Rooms{room_for(rows_out * out), room_for(i ? read : 0), room_for(source.swishes() ? read : 0),
                 room_for(adds ? read : 0), std::vector<float>(s.depthwise ? size : 0)};
  };
  pieces.each(make, [&](Rooms& rooms, int64_t part, int64_t index) {
    const int inner = pieces.inner_threads;
    const Piece piece = pieces[index], under = source.under(piece);
    const int64_t at = rows_of(norm, piece).x - norm.x, rows = piece.samples * piece.positions;
    NormGradient of_piece = {};
    of_piece.y = grad + at, of_piece.x = rooms.dz.get(), of_piece.other = g.norm.other ? g.norm.other + at : nullptr;
    Norm of_norm = rows_of(norm, piece);
    if (!is_last) of_norm.act = 0;  // its gradient has been taken with the sums
    kernels.gradient(of_norm, of_piece, found.slope.data(), found.offset.data() + piece.sample * out, inner);
    float* const slope = source.swishes() ? rooms.slope.get() : nullptr;
    const float *dz = rooms.dz.get(), *from = source.rows(under, rooms.from.get(), slope, inner);
    float* of_part = sums.data() + part * size;
    if (g.weight && s.depthwise) {
      Geometry geometry = s.geometry;
      geometry.n = piece.samples;
      kernels.depthwise(kWeightGradient, kFloat, geometry, dz, from, rooms.weight.data(), inner);
      for (int64_t k = 0; k < size; ++k) of_part[k] += rooms.weight[k];
    } else if (g.weight) {
      kernels.add_columns_product(rows, out, in, dz, from, of_part);
    }
    if (!target) return;
    float* to = target + source.first(under);
    convolve(kernels, s, kInputGradient, piece, weights, dz, adds ? rooms.added.get() : to, inner);
    for (int64_t k = 0; adds && k < under.samples * under.positions * in; ++k) to[k] += rooms.added[k];
    const int64_t share = pieces.share(index) * in;
    if (i)
      kernels.reduce(rows_of(stages[i - 1].norm, under), slope, to, to, back.products.data() + share,
                     back.totals.data() + share, inner);
  });
  if (g.weight && !s.depthwise) kernels.total_of_columns(pieces.parts, out, in, sums.data(), g.weight);
  for (int64_t k = 0; g.weight && s.depthwise && k < size; ++k) {
    g.weight[k] = 0;
    for (int part = 0; part < pieces.parts; ++part) g.weight[k] += sums[part * size + k];
  }
  add_shares(norm.samples, pieces.shares_of_sample(), in, back.products);
  add_shares(norm.samples, pieces.shares_of_sample(), in, back.totals);
  return back;
}

}  // namespace

void chain_forward(const Kernels& kernels, const Stage* stages, int64_t count, const float* x, int threads) {
  for (int64_t i = 0; i < count; ++i) run_forward(kernels, stages, i, x, threads);
  kernels.apply(stages[count - 1].norm, nullptr, threads);
}

void chain_backward(const Kernels& kernels, const Stage* stages, const StageGradient* gradients, int64_t count,
                    const float* x, float* dx, int threads) {
  const Norm& last = stages[count - 1].norm;
  const NormGradient& of_last = gradients[count - 1].norm;
  Back back;
  back.products.resize(last.samples * last.channels), back.totals.resize(last.samples * last.channels);
  kernels.reduce(last, nullptr, of_last.y, nullptr, back.products.data(), back.totals.data(), threads);
  for (int64_t i = count - 1; i >= 0; --i) {
    const float* grad = i == count - 1 ? of_last.y : back.grad.get();
    Back next = run_backward(kernels, stages, gradients[i], i, x, grad, i == count - 1, back.products, back.totals,
                             dx, i == 0 && dx && dx == of_last.other, threads);
    back = std::move(next);
  }
}
