#include "rows.h"

#include <cstring>

namespace cairn::bench {

namespace {
constexpr std::uint64_t kShift = 64;
constexpr std::uint64_t kStampEvery = 32768;
}  // namespace

Model::Model(std::uint64_t bytes, std::uint64_t tensor_bytes)
    : tensor_bytes_(tensor_bytes),
      bytes_(bytes / tensor_bytes * tensor_bytes),
      memory_(bytes_ + kShift) {
  fill_random(this->bytes(), 1);
  RecoverableState recoverable;
  recoverable.name = "model";
  for (std::uint64_t at = 0; at < bytes_; at += tensor_bytes) {
    TensorInput tensor;
    tensor.key = "layer." + std::to_string(at / tensor_bytes) + ".weight";
    tensor.dtype = DType::kU8;
    tensor.shape = {static_cast<std::int64_t>(tensor_bytes)};
    tensor.data = memory_.data() + kShift + at;
    recoverable.tensors.push_back(std::move(tensor));
  }
  state_.push_back(std::move(recoverable));
}

std::span<std::byte> Model::bytes() const {
  return memory_.span().subspan(kShift, bytes_);
}

std::span<std::byte> Model::tensor(std::size_t i) const {
  return bytes().subspan(i * tensor_bytes_, tensor_bytes_);
}

void Model::change_first(std::size_t tensors) {
  ++stamp_;
  const std::uint64_t every = std::min(kStampEvery, tensor_bytes_);
  const std::uint64_t end = std::min(bytes_, tensors * tensor_bytes_);
  for (std::uint64_t at = 0; at + sizeof(stamp_) <= end; at += every) {
    const std::uint64_t mark = stamp_ * 0x9E3779B97F4A7C15ULL + at;
    std::memcpy(bytes().data() + at, &mark, sizeof(mark));
  }
}

RetentionCallback keep_newest(std::size_t count) {
  return [count](std::span<const CheckpointInfo> newest_first) {
    std::vector<std::uint64_t> going;
    for (std::size_t i = count; i < newest_first.size(); ++i) going.push_back(newest_first[i].id);
    return going;
  };
}

}  // namespace cairn::bench
