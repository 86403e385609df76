// All the harm that is done to a specimen, one damage after another, as lists that can be sampled.
#pragma once

#include "damage/specimen.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::damage {

enum class Where { kPack, kCatalog };

/// Bytes that stand in place of others.
struct Patch {
  Where where{};
  std::uint64_t offset = 0;
  testing::Bytes bytes{};
};

/// A file that ends early.
struct Cut {
  Where where{};
  std::uint64_t bytes = 0;
};

/// One damage. Whole files in the place of both are patches as well, of their whole length.
struct Harm {
  std::string label{};
  std::vector<Patch> patches{};
  std::optional<Cut> cut{};
  /// Other files of the store that are deleted.
  std::vector<std::string> deleted{};
  /// Moments of which pack and catalog are, where whole files were put in; -1: the other store's.
  std::optional<std::pair<int, int>> put_together{};
};

/// Nothing but bytes or the end of a file.
bool is_of_bytes(const Harm& harm);
/// The same, and of the catalog.
bool is_of_catalog_alone(const Harm& harm);

/// A list of damages of one sort, made when they are asked for.
struct Harms {
  std::string_view sort;
  std::size_t count = 0;
  std::function<Harm(std::size_t)> make;
  std::size_t sample = 0;  // how many of them by default
};

/// Lifetime: refers to the specimen.
std::vector<Harms> all_harms(const Specimen& specimen);

}  // namespace cairn::damage
