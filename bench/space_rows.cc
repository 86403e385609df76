// Rows 12 and 13: the space that checkpoints take, and what compression makes of real weights.
#include "base/digest.h"
#include "codec/grouped.h"
#include "format/layout.h"
#include "rows.h"

#include <cairn/safetensors.h>
#include <cairn/torch_file.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <unordered_set>
#include <utility>

namespace cairn::bench {
namespace {

// ---- row 12: live bytes -------------------------------------------------------------------------

constexpr int kSaves = 50;
constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;

/// The bytes of all different chunks that were ever saved, as the caller of `save` can tell them:
/// pieces of a tensor of 1 MiB from its own start.
class DistinctBytes {
 public:
  void add(const Model& model) {
    for (std::size_t i = 0; i < model.tensor_count(); ++i) {
      const auto tensor = model.tensor(i);
      for (std::size_t at = 0; at < tensor.size(); at += kChunkBytes) {
        const auto piece =
            tensor.subspan(at, std::min<std::size_t>(kChunkBytes, tensor.size() - at));
        if (seen_.insert(base::xxh3_128(piece)).second) bytes_ += piece.size();
      }
    }
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::unordered_set<base::Digest128, base::DigestHash> seen_;
  std::uint64_t bytes_ = 0;
};

/// Changes 16 rows of 256 bytes, wherever they lie.
void change_rows(const Model& model, std::mt19937_64& random) {
  constexpr std::size_t kRowBytes = 256;
  for (int i = 0; i < 16; ++i) {
    const std::size_t row = random() % (model.bytes().size() / kRowBytes);
    const std::uint64_t mark = random();
    std::memcpy(model.bytes().data() + row * kRowBytes, &mark, sizeof(mark));
  }
}

Row live_bytes(const Settings& settings) {
  const std::uint64_t bytes = std::max(settings.bytes / 16, std::uint64_t{4} << 20);
  const std::uint64_t tensor_bytes = bytes / 32;
  Row row{
      .number = "12",
      .title = fmt::format("live bytes after {} saves of {} MiB, all kept", kSaves, bytes >> 20),
      .conditions = "live: chunks, indexes, roots; beside the bytes of all different chunks"};
  std::mt19937_64 random(12);
  struct Training {
    std::string name{};
    std::function<void(Model&, int)> step{};
  };
  const std::vector<Training> trainings = {
      {"full training", [](Model& model, int) { model.change_all(); }},
      {"frozen backbone, a tenth trained",
       [](Model& model, int) { model.change_first(model.tensor_count() / 10); }},
      {"sparse embedding rows", [&](Model& model, int) { change_rows(model, random); }},
      {"a run that died and was resumed from its middle",
       [](Model& model, int save) {
         // The same steps again: the same bytes.
         if (save == kSaves / 2) model = Model(model.bytes().size(), model.tensor(0).size());
         model.change_all();
       }},
  };
  for (const Training& training : trainings) {
    const auto directory = settings.directory / "row12";
    {
      Model model(bytes, tensor_bytes);
      Store store(directory);
      DistinctBytes distinct;
      for (int save = 0; save < kSaves; ++save) {
        training.step(model, save);
        distinct.add(model);
        store.save(model.state());
      }
      const StoreStats stats = store.stat();
      const auto whole = static_cast<double>(distinct.bytes());
      const auto above = [&](std::uint64_t taken) {
        return 100 * (static_cast<double>(taken) / whole - 1);
      };
      row.at_most(training.name + ": live, above the different bytes", above(stats.stored_bytes), 1,
                  "%");
      row.state("  the pack, above them", above(stats.pack_bytes), "%");
      row.state("  different bytes, of all that was saved",
                100 * whole / static_cast<double>(stats.logical_bytes), "%");
    }
    std::filesystem::remove_all(directory);
  }
  return row;
}

// ---- row 13: compression ------------------------------------------------------------------------

/// Rounds to the nearest, ties to even, as training in bf16 does.
std::uint16_t to_bf16(std::uint32_t bits) {
  if ((bits & 0x7fffffff) > 0x7f800000)
    return static_cast<std::uint16_t>(bits >> 16 | 0x40);  // NaN
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// The floating-point tensors of a file, those of 32 bits rounded to bf16; others are left out.
CheckpointState weights_of(const std::filesystem::path& file,
                           const std::filesystem::path& scratch) {
  Store store(scratch);
  const auto id = store
                      .save({looks_like_torch_file(file) ? read_torch_file(file, "model")
                                                         : read_safetensors(file, "model")})
                      .saved.id;
  const Checkpoint checkpoint = store.open(id);
  CheckpointState state(1);
  state[0].name = "model";
  for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
    const TensorInfo& info = checkpoint.tensors()[i];
    if (info.dtype != DType::kF32 && info.dtype != DType::kBF16) continue;
    auto bytes = std::make_shared<std::vector<std::byte>>(checkpoint.read(i));
    if (info.dtype == DType::kF32) {
      const std::size_t count = bytes->size() / 4;
      for (std::size_t k = 0; k < count; ++k) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, bytes->data() + 4 * k, 4);
        const std::uint16_t rounded = to_bf16(bits);
        std::memcpy(bytes->data() + 2 * k, &rounded, 2);
      }
      bytes->resize(2 * count);
    }
    TensorInput tensor;
    tensor.key = info.key;
    tensor.dtype = DType::kBF16;
    tensor.shape.assign(info.shape.begin(), info.shape.end());
    tensor.data = bytes->data();
    tensor.owner = bytes;
    state[0].tensors.push_back(std::move(tensor));
  }
  return state;
}

/// Seconds that one thread takes for all chunks of a state to be encoded, and decoded again.
struct CodecSeconds {
  std::uint64_t plain_bytes = 0;
  double encode = 0;
  double decode = 0;
};

CodecSeconds time_codec(const CheckpointState& state) {
  CodecSeconds seconds;
  const codec::Layout layout = codec::layout_of(DType::kBF16);
  const Memory plain(kChunkBytes);
  const Memory stored(codec::most_encoded_bytes(kChunkBytes));
  for (const TensorInput& tensor : state[0].tensors) {
    std::uint64_t bytes = 2;
    for (const std::int64_t n : tensor.shape) bytes *= static_cast<std::uint64_t>(n);
    const std::span whole(static_cast<const std::byte*>(tensor.data), bytes);
    for (std::size_t at = 0; at < bytes; at += kChunkBytes) {
      const auto piece = whole.subspan(at, std::min<std::size_t>(kChunkBytes, bytes - at));
      if (piece.size() < format::kSmallTensorBytes) continue;
      std::size_t length = 0;
      seconds.encode += seconds_of([&] { length = codec::encode(piece, layout, stored.span()); });
      const auto out = plain.span().first(piece.size());
      seconds.decode += seconds_of([&] { codec::decode(stored.span().first(length), out); });
      seconds.plain_bytes += piece.size();
      if (!std::equal(piece.begin(), piece.end(), out.begin())) {
        throw std::runtime_error("a chunk did not come back as it was");
      }
    }
  }
  return seconds;
}

Row compression(const Settings& settings) {
  Row row{.number = "13",
          .title = "bf16 weights of a trained model, compressed",
          .conditions = "in memory, one thread, chunks of 1 MiB; median of the rounds"};
  if (settings.weights.empty()) {
    row.conditions =
        "skipped: --weights names no file of a trained model (.safetensors, or .pt of torch.save)";
    return row;
  }
  const auto directory = settings.directory / "row13";
  const CheckpointState state = weights_of(settings.weights, directory / "plain");
  {
    Store store(directory / "compressed", {.compression = Compression::kZstd});
    const SaveResult saved = store.save(state);
    row.title += fmt::format(" ({}, {:.1f} million numbers)", settings.weights.filename().string(),
                             static_cast<double>(saved.saved.logical_bytes) / 2e6);
    row.at_most("stored, of the plain bytes of all chunks",
                static_cast<double>(saved.new_stored_bytes) / static_cast<double>(saved.new_bytes),
                0.70);
  }
  std::vector<double> encode;
  std::vector<double> decode;
  for (int round = 0; round < std::max(settings.rounds, 3); ++round) {
    const CodecSeconds seconds = time_codec(state);
    encode.push_back(static_cast<double>(seconds.plain_bytes) / seconds.encode / 1e9);
    decode.push_back(static_cast<double>(seconds.plain_bytes) / seconds.decode / 1e9);
  }
  row.at_least("decompression, a core", median(decode), 1.5, "GB/s");
  row.state("the fastest round", quantile(decode, 1), "GB/s");
  row.state("compression, a core", median(encode), "GB/s");
  std::filesystem::remove_all(directory);
  return row;
}

}  // namespace

std::vector<RowEntry> space_rows() {
  return {{"12", live_bytes}, {"13", compression}};
}

}  // namespace cairn::bench
