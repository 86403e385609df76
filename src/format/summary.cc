// The summary of an index, as the catalog keeps it. Declared in format/index.h.
#include "base/text.h"
#include "format/index.h"
#include "format/names.h"
#include "format/pack_generated.h"
#include "format/payload.h"
#include "format/value_codec.h"

namespace cairn::format {
namespace {

constexpr const char* kIdentifier = "CNSM";
constexpr std::uint64_t kTableRoomBytes = 128;
constexpr std::uint64_t kStringRoomBytes = 16;  // offset, length, terminator, padding

void check_summary(const IndexSummary& summary, ErrorCode code) {
  if (summary.recoverables.size() > kMaxRecoverables) {
    fail(code, "the summary has {} recoverables; at most {} are allowed",
         summary.recoverables.size(), kMaxRecoverables);
  }
  if (summary.tensors > kMaxTensors) {
    fail(code, "the summary has {} tensors; at most {} are allowed", summary.tensors, kMaxTensors);
  }
  const std::string* last = nullptr;
  for (const std::string& name : summary.recoverables) {
    validate_recoverable_name(name, code);
    if (last != nullptr && name <= *last) {
      fail(code, "the summary's recoverables are not ascending: {} after {}", base::quoted(name),
           base::quoted(*last));
    }
    last = &name;
  }
}

}  // namespace

IndexSummary summarize(const Index& index) {
  return summarize(index.meta, index.recoverables, index.created_unix_ns);
}

IndexSummary summarize(const Metadata& meta, std::span<const IndexRecoverable> recoverables,
                       std::int64_t created_unix_ns) {
  IndexSummary summary;
  summary.created_unix_ns = created_unix_ns;
  summary.meta = meta;
  for (const IndexRecoverable& recoverable : recoverables) {
    summary.recoverables.push_back(recoverable.name);
    summary.tensors += recoverable.tensors.size();
    for (const IndexTensor& tensor : recoverable.tensors) {
      summary.logical_bytes += tensor_bytes(tensor.dtype, tensor.shape).value_or(0);
    }
  }
  return summary;
}

std::vector<std::byte> encode_summary(const IndexSummary& summary) {
  check_summary(summary, ErrorCode::kInvalidArgument);
  std::uint64_t weight = kTableRoomBytes + weigh_metadata(summary.meta);
  for (const std::string& name : summary.recoverables) weight += kStringRoomBytes + name.size();
  auto builder = make_builder(weight, "summary");
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> recoverables;
  if (!summary.recoverables.empty()) {
    recoverables = builder.CreateVectorOfStrings(summary.recoverables);
  }
  const auto meta = encode_values(builder, summary.meta.map());
  fb::SummaryBuilder table(builder);
  table.add_created_unix_ns(summary.created_unix_ns);
  table.add_tensors(summary.tensors);
  table.add_logical_bytes(summary.logical_bytes);
  if (!meta.IsNull()) table.add_meta(meta);
  if (!recoverables.IsNull()) table.add_recoverables(recoverables);
  return finish(builder, table.Finish(), kIdentifier);
}

IndexSummary decode_summary(std::span<const std::byte> payload) {
  const Payload copy(payload);
  const auto& from = copy.verified<fb::Summary>(kIdentifier);
  Budget budget(copy.bytes());
  IndexSummary summary;
  summary.created_unix_ns = from.created_unix_ns();
  summary.tensors = from.tensors();
  summary.logical_bytes = from.logical_bytes();
  summary.meta = decode_metadata(from.meta(), budget);
  if (from.recoverables() != nullptr) {
    for (const flatbuffers::String* name : *from.recoverables()) {
      budget.spend(kLeastStringBytes + name->size());
      summary.recoverables.emplace_back(as_text(name));
    }
  }
  check_summary(summary, ErrorCode::kDamaged);
  return summary;
}

}  // namespace cairn::format
