#include "damage/harm.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

namespace cairn::damage {
namespace {

using testing::Bytes;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSector = 512;

const Bytes& file_of(const Moment& moment, Where where) {
  return where == Where::kPack ? moment.pack : moment.catalog;
}

std::string_view name_of(Where where) {
  return where == Where::kPack ? "pack" : "catalog";
}

/// A page; the last one of a file may be short.
Bytes page_of(const Bytes& file, std::uint64_t number) {
  const auto page = std::span(file).subspan(
      number * kPage, std::min<std::uint64_t>(kPage, file.size() - number * kPage));
  return {page.begin(), page.end()};
}

std::uint64_t pages_of(const Bytes& file) {
  return (file.size() + kPage - 1) / kPage;
}

/// A place in one of the files.
struct Place {
  Where where{};
  std::uint64_t number = 0;
};

std::string describe(const Place& place, std::string_view unit) {
  return std::string(unit) + " " + std::to_string(place.number) + " of the " +
         std::string(name_of(place.where));
}

/// The pages of both files.
std::vector<Place> all_pages(const Moment& moment) {
  std::vector<Place> places;
  for (const Where where : {Where::kPack, Where::kCatalog}) {
    for (std::uint64_t i = 0; i < pages_of(file_of(moment, where)); ++i) {
      places.push_back({where, i});
    }
  }
  return places;
}

Harms flips(const Specimen& specimen, std::string_view sort, std::vector<Place> bytes,
            bool all_bits, std::size_t sample) {
  const auto places = std::make_shared<const std::vector<Place>>(std::move(bytes));
  const std::size_t bits = all_bits ? 8 : 1;
  return {.sort = sort,
          .count = places->size() * bits,
          .make =
              [&specimen, places, bits](std::size_t i) {
                const Place place = (*places)[i / bits];
                const std::size_t bit = bits == 8 ? i % 8 : place.number % 8;
                const std::byte byte = file_of(specimen.now(), place.where)[place.number] ^
                                       static_cast<std::byte>(1U << bit);
                return Harm{
                    .label = "bit " + std::to_string(bit) + " of " + describe(place, "byte"),
                    .patches = {{place.where, place.number, {byte}}}};
              },
          .sample = sample};
}

Harms zeroed_pages(const Specimen& specimen) {
  const auto pages = std::make_shared<const std::vector<Place>>(all_pages(specimen.now()));
  return {.sort = "zeroed pages",
          .count = pages->size(),
          .make =
              [&specimen, pages](std::size_t i) {
                const Place page = (*pages)[i];
                const Bytes before = page_of(file_of(specimen.now(), page.where), page.number);
                return Harm{.label = describe(page, "page") + " zeroed",
                            .patches = {{page.where, page.number * kPage, Bytes(before.size())}}};
              },
          .sample = pages->size()};
}

/// Ordered pairs of pages of one file.
Harms pairs_of_pages(const Specimen& specimen, Where where, bool swap, std::size_t sample) {
  const Bytes& file = file_of(specimen.now(), where);
  const std::uint64_t pages = file.size() / kPage;
  return {.sort = swap ? "swapped pages" : "duplicated pages",
          .count = pages * pages,
          .make =
              [&file, pages, where, swap](std::size_t i) {
                const std::uint64_t from = i / pages;
                const std::uint64_t to = i % pages;
                Harm harm{.label = describe({where, from}, "page") +
                                   (swap ? " swapped with page " : " over page ") +
                                   std::to_string(to),
                          .patches = {{where, to * kPage, page_of(file, from)}}};
                if (swap) harm.patches.push_back({where, from * kPage, page_of(file, to)});
                return harm;
              },
          .sample = sample};
}

Harms older_pages(const Specimen& specimen, std::size_t sample) {
  const auto pages = std::make_shared<const std::vector<Place>>(all_pages(specimen.now()));
  const std::size_t older = specimen.moments().size() - 1;
  return {
      .sort = "older pages",
      .count = pages->size() * older,
      .make =
          [&specimen, pages, older](std::size_t i) {
            const Place page = (*pages)[i / older];
            const Bytes& then = file_of(specimen.moments()[i % older], page.where);
            const Bytes& now = file_of(specimen.now(), page.where);
            Harm harm{.label =
                          describe(page, "page") + " as of moment " + std::to_string(i % older)};
            if (page.number < pages_of(then)) {
              Bytes bytes = page_of(then, page.number);
              bytes.resize(std::min<std::uint64_t>(bytes.size(), now.size() - page.number * kPage));
              harm.patches.push_back({page.where, page.number * kPage, std::move(bytes)});
            }
            return harm;
          },
      .sample = sample};
}

Harms cuts(const Specimen& specimen, std::size_t sample) {
  const std::size_t in_pack = specimen.now().pack.size() / kSector;
  const std::size_t in_catalog = specimen.now().catalog.size() / kSector;
  return {.sort = "cuts",
          .count = in_pack + in_catalog,
          .make =
              [in_pack](std::size_t i) {
                const Where where = i < in_pack ? Where::kPack : Where::kCatalog;
                const std::uint64_t bytes = kSector * (i < in_pack ? i : i - in_pack);
                return Harm{.label = std::string(name_of(where)) + " cut to " +
                                     std::to_string(bytes) + " bytes",
                            .cut = Cut{where, bytes}};
              },
          .sample = sample};
}

/// Pack and catalog of all moments and of another store.
Harms put_together(const Specimen& specimen) {
  const std::size_t moments = specimen.moments().size() + 1;  // the last: the other store
  return {.sort = "put together",
          .count = moments * moments,
          .make =
              [&specimen, moments](std::size_t i) {
                const auto moment = [&](std::size_t number) -> const Moment& {
                  return number + 1 == moments ? specimen.stranger() : specimen.moments()[number];
                };
                const auto number = [&](std::size_t n) {
                  return n + 1 == moments ? -1 : static_cast<int>(n);
                };
                const std::size_t pack = i / moments;
                const std::size_t catalog = i % moments;
                return Harm{.label = "pack of moment " + std::to_string(number(pack)) +
                                     ", catalog of moment " + std::to_string(number(catalog)),
                            .patches = {{Where::kPack, 0, moment(pack).pack},
                                        {Where::kCatalog, 0, moment(catalog).catalog}},
                            .put_together = std::pair(number(pack), number(catalog))};
              },
          .sample = moments * moments};
}

/// Both superblocks, in several ways, and of what tells whose pack it is then: nothing more, each
/// slot, all slots, the catalog, all slots and the catalog.
Harms both_superblocks(const Specimen& specimen) {
  std::vector<std::uint64_t> superblocks;
  std::vector<std::uint64_t> slots;
  for (const Part& part : specimen.parts()) {
    if (part.kind == Part::Kind::kSuperblock) superblocks.push_back(part.offset);
    if (part.kind == Part::Kind::kSlot) slots.push_back(part.offset);
  }
  const std::size_t extras = slots.size() + 4;
  constexpr std::size_t kBytes = 100;  // the fields, and some reserved bytes
  return {.sort = "both superblocks",
          .count = (1 + kBytes) * extras,
          .make =
              [&specimen, superblocks, slots, extras](std::size_t i) {
                const std::size_t way = i / extras;
                const std::size_t extra = i % extras;
                Harm harm{.label = way == 0 ? "both superblocks zeroed"
                                            : "byte " + std::to_string(way - 1) +
                                                  " of both superblocks"};
                for (const std::uint64_t offset : superblocks) {
                  if (way == 0) {
                    harm.patches.push_back({Where::kPack, offset, Bytes(kPage)});
                  } else {
                    const std::uint64_t at = offset + way - 1;
                    harm.patches.push_back(
                        {Where::kPack, at, {specimen.now().pack[at] ^ std::byte{0x40}}});
                  }
                }
                const auto lose_slot = [&](std::uint64_t offset) {
                  harm.patches.push_back({Where::kPack, offset, Bytes(kSector)});
                };
                if (extra < slots.size()) {
                  harm.label += ", slot " + std::to_string(extra);
                  lose_slot(slots[extra]);
                } else if (extra >= slots.size() + 2) {
                  harm.label += ", all slots";
                  for (const std::uint64_t offset : slots) lose_slot(offset);
                }
                if (extra == slots.size() + 1 || extra == slots.size() + 3) {
                  harm.label += ", catalog deleted";
                  harm.deleted = {"catalog.mdb"};
                }
                return harm;
              },
          .sample = 250};
}

Harms deleted_files() {
  static const std::vector<std::vector<std::string>> sets = {
      {"catalog.mdb"},
      {"lock"},
      {"catalog.mdb-lock"},
      {"catalog.mdb", "catalog.mdb-lock"},
      {"catalog.mdb", "catalog.mdb-lock", "lock"}};
  return {.sort = "deleted files",
          .count = sets.size(),
          .make =
              [](std::size_t i) {
                Harm harm{.label = "deleted:", .deleted = sets[i]};
                for (const std::string& name : harm.deleted) harm.label += " " + name;
                return harm;
              },
          .sample = sets.size()};
}

}  // namespace

bool is_of_bytes(const Harm& harm) {
  return !harm.put_together && harm.deleted.empty() && (harm.cut || !harm.patches.empty());
}

bool is_of_catalog_alone(const Harm& harm) {
  const auto is_of_catalog = [](const auto& part) { return part.where == Where::kCatalog; };
  return is_of_bytes(harm) && (!harm.cut || is_of_catalog(*harm.cut)) &&
         std::all_of(harm.patches.begin(), harm.patches.end(), is_of_catalog);
}

std::vector<Harms> all_harms(const Specimen& specimen) {
  std::vector<Place> structure;
  std::vector<Place> payload;
  std::uint64_t end = 0;
  const auto add_unused = [&](std::uint64_t until) {
    for (; end < until; ++end) payload.push_back({Where::kPack, end});
  };
  for (const Part& part : specimen.parts()) {
    add_unused(part.offset);
    std::vector<Place>& list = part.is_structure() ? structure : payload;
    for (; end < part.offset + part.bytes; ++end) list.push_back({Where::kPack, end});
  }
  add_unused(specimen.now().pack.size());
  std::vector<Place> catalog;
  for (std::uint64_t i = 0; i < specimen.now().catalog.size(); ++i) {
    catalog.push_back({Where::kCatalog, i});
  }
  return {
      flips(specimen, "bits of structure", std::move(structure), true, 4500),
      flips(specimen, "bits of payload and unused space", std::move(payload), false, 4500),
      flips(specimen, "bits of the catalog", std::move(catalog), true, 6000),
      zeroed_pages(specimen),
      pairs_of_pages(specimen, Where::kPack, false, 700),
      pairs_of_pages(specimen, Where::kCatalog, false, 700),
      pairs_of_pages(specimen, Where::kPack, true, 700),
      pairs_of_pages(specimen, Where::kCatalog, true, 700),
      older_pages(specimen, 1500),
      cuts(specimen, 1200),
      both_superblocks(specimen),
      put_together(specimen),
      deleted_files(),
  };
}

}  // namespace cairn::damage
