#include "crash/model.h"

#include <cstddef>
#include <utility>
#include <vector>

namespace cairn::crash {

Metadata without_time(const Metadata& meta) {
  Metadata::Map map = meta.map();
  map.erase("unixtime");
  return Metadata(std::move(map));
}

namespace {

Saved saved_of(const Store& store, const CheckpointInfo& info) {
  return {.contents = testing::contents(store.open(info.id)),
          .meta = without_time(info.meta),
          .pinned = info.pinned};
}

}  // namespace

Model model_of(const Store& store) {
  Model model;
  for (const CheckpointInfo& info : store.checkpoints()) model[info.name] = saved_of(store, info);
  return model;
}

Model model_of(const Store& store, std::set<std::string>& damaged) {
  Model model;
  for (const CheckpointInfo& info : store.checkpoints()) {
    try {
      model[info.name] = saved_of(store, info);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged) throw;
      damaged.insert(info.name);
    }
  }
  return model;
}

base::Digest128 digest_of(const Model& model) {
  std::vector<std::byte> summary;
  const auto add = [&](const void* data, std::size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    summary.insert(summary.end(), first, first + bytes);
  };
  for (const auto& [name, saved] : model) {
    add(name.c_str(), name.size() + 1);
    add(&saved.pinned, sizeof(saved.pinned));
    for (const auto& [key, bytes] : saved.contents) {
      add(key.c_str(), key.size() + 1);
      const base::Digest128 digest = base::xxh3_128(bytes);
      add(&digest, sizeof(digest));
    }
  }
  return base::xxh3_128(summary);
}

std::string describe(const Model& model) {
  std::string text;
  for (const auto& [name, saved] : model) {
    if (!text.empty()) text += ", ";
    text += name;
    if (saved.pinned) text += " pinned";
  }
  return "{" + text + "}";
}

}  // namespace cairn::crash
