// The store that is damaged: what it held at each moment of its life, and what each byte of its
// pack is for. Nothing here asks the code that looks for damage.
#pragma once

#include "support/states.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::damage {

/// A store after one of its commits.
struct Moment {
  testing::Bytes pack{};
  testing::Bytes catalog{};
  std::map<std::string, testing::Contents> holds{};  // by name of checkpoint
};

/// A piece of the pack that is in use.
struct Part {
  enum class Kind { kSuperblock, kSlot, kRoot, kIndex, kChunk };
  Kind kind{};
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  /// Checkpoints that need it, and which of their tensors; all of them in case of an index.
  std::map<std::string, std::set<std::string>> touches{};
  /// A slot that is neither the committed root's nor its parent's.
  bool is_spare = false;

  bool is_structure() const { return kind != Kind::kChunk; }
};

/// The word that `verify` has for it.
std::string_view word_for(Part::Kind kind);

class Specimen {
 public:
  /// Makes a store of about two megabytes in `directory`: checkpoints that share chunks, small
  /// tensors laid together, plain and compressed chunks, a pin, free extents of several commits;
  /// and another store beside it.
  explicit Specimen(const std::filesystem::path& directory);

  const std::vector<Moment>& moments() const { return moments_; }
  const Moment& now() const { return moments_.back(); }
  const Moment& stranger() const { return stranger_; }
  /// Ascending by offset.
  const std::vector<Part>& parts() const { return parts_; }

 private:
  void map_parts(const std::filesystem::path& directory);

  std::vector<Moment> moments_;
  Moment stranger_;
  std::vector<Part> parts_;
};

}  // namespace cairn::damage
