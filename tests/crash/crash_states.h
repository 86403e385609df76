// Which states a crash may leave, by an event log alone.
//
// What is unsynced is cut into units, each of which is there after a crash or not, whatever the
// others are:
//
//  - a sector (512 bytes) of a write, of a hole punched, or of what a truncation cut off. Those
//    that are there are laid over one another in the order of the log, so that each sector is found
//    at any point of its own history: writes torn between sectors, old bytes in new blocks, zeros.
//  - a length that a file got, by truncation or by a write behind its end. So there are lengths
//    without bytes, and bytes without length, which are not seen. Where a length has no bytes it
//    reads as zeros, or, where a write was to put some, as what the blocks held for another file.
//  - a name that appeared, changed or went. A rename is one unit.
//
// `sync` makes all of a file durable but its name, `syncrange` the sectors in the range (and the
// length, if the range ends behind the durable one), `syncdir` the names in a directory. By the
// strict rule nothing else makes a name durable, and pending names come in any choice. By ext4's
// the pending names come in their order (its journal), and syncing a file that is new makes its
// name durable, with all before it.
//
// A sector is written whole or not at all; that, and that a flush that has returned has reached the
// disk, is what is assumed of disks.
#pragma once

#include "crash/event_log.h"
#include "crash/tree.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::crash {

inline constexpr std::uint64_t kSectorBytes = 512;

enum class NameRule { kStrict, kExt4 };

/// What new blocks hold whose bytes have not come.
enum class NewBlocks { kZeros, kOldBytes };

/// Which units are there, by their number.
using Choice = std::vector<bool>;

/// Everything that a prefix of a log has made durable, and the units that it left pending.
class Disk {
 public:
  /// Files that were created under a name that `settled` accepts count as synced after every
  /// event: it is for files whose contents are advice, such as the text of a lock file.
  explicit Disk(NameRule rule, std::function<bool(std::string_view name)> settled = {});

  /// The event must outlive the disk.
  void apply(const Event& event);

  /// Neighbouring units that came with one event: a write's sectors, a length, a name.
  struct Group {
    std::size_t first = 0;
    std::size_t count = 0;
    std::size_t event = 0;
  };
  /// In the order of the log.
  const std::vector<Group>& groups() const;
  std::size_t unit_count() const;

  /// What stands on the disk when exactly these units are there.
  Tree state(const Choice& choice, NewBlocks blocks = NewBlocks::kZeros) const;

 private:
  struct Write {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    const std::byte* data = nullptr;  // null: zeros
    std::size_t event = 0;            // its number
  };
  struct Length {
    std::uint64_t bytes = 0;
    std::size_t event = 0;
  };
  struct File {
    Bytes bytes{};                 // durable
    std::uint64_t seen_bytes = 0;  // length with everything pending
    std::vector<Write> writes{};
    std::vector<Length> lengths{};
    bool settled = false;
  };
  using Place = std::pair<Node, std::string>;
  struct NameChange {
    std::optional<Place> from{};  // goes
    std::optional<Place> to{};    // appears
    Node node = kTop;             // there
    bool is_new = false;
    std::size_t event = 0;
  };
  using Names = std::map<Place, Node>;

  void add_write(File& file, std::uint64_t offset, std::uint64_t bytes,
                 const std::byte* data) const;
  void add_length(File& file, std::uint64_t bytes) const;
  void change_name(NameChange change);
  void sync(Node node);
  void sync_range(File& file, std::uint64_t begin, std::uint64_t end);
  void sync_names_in(Node directory);
  void keep_names(std::size_t count);
  static void lay(const Write& write, std::uint64_t begin, std::uint64_t end, Bytes& over);
  static void carry_out(const NameChange& change, Names& names);
  void group() const;
  Bytes contents(Node node, const Choice& choice, NewBlocks blocks) const;

  NameRule rule_;
  std::function<bool(std::string_view)> settled_;
  std::map<Node, File> files_;
  std::set<Node> directories_{kTop};
  Names names_;       // durable
  Names seen_names_;  // with everything pending
  std::vector<NameChange> changes_;
  std::size_t events_ = 0;  // so many have happened

  mutable bool grouped_ = false;
  mutable std::vector<Group> groups_;
  mutable std::size_t unit_count_ = 0;
  mutable std::size_t first_name_unit_ = 0;
  mutable std::map<Node, std::size_t> first_unit_;  // of a file
};

/// How many states to take where not all can be.
struct Thoroughness {
  std::size_t exhaustive_units = 12;  ///< So many units or fewer: every choice of them.
  std::size_t exhaustive_groups = 6;  ///< So many groups or fewer: every choice of whole groups.
  std::size_t samples = 8;            ///< Random choices, besides the systematic ones.
  std::size_t at_most = 40;           ///< Choices an event, drawn at random from all the above.
};

/// The choices to look at: all of them where few units are pending; else none, all, each group
/// missing, each only, prefixes, torn groups (prefix, suffix, one sector missing, one only), and
/// random ones. None and all are always among them.
struct Choices {
  std::vector<Choice> list{};
  bool is_exhaustive = false;  ///< There are no others.
};
Choices choices(const Disk& disk, const Thoroughness& how, std::mt19937_64& random);

}  // namespace cairn::crash
