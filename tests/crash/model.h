// What a store should hold, and what one holds.
#pragma once

#include "base/digest.h"
#include "support/states.h"

#include <cairn/store.h>

#include <map>
#include <set>
#include <string>

namespace cairn::crash {

struct Saved {
  testing::Contents contents{};
  Metadata meta{};
  bool pinned = false;
  friend bool operator==(const Saved&, const Saved&) = default;
};

/// Every checkpoint by its name.
using Model = std::map<std::string, Saved>;

/// The metadata without the time of the save, which a model does not know.
Metadata without_time(const Metadata& meta);

/// Reads a store, every tensor of it.
Model model_of(const Store& store);
/// The same where some of it may be damaged: those go to `damaged`, by name.
Model model_of(const Store& store, std::set<std::string>& damaged);

base::Digest128 digest_of(const Model& model);
/// "{1, 2 pinned}": names only.
std::string describe(const Model& model);

}  // namespace cairn::crash
