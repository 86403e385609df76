// What users type: CKPT and --meta, one word a line. Every word is answered by a value or by an
// error that can be printed.
#include "cli/failure.h"
#include "cli/meta_option.h"
#include "cli/reference.h"
#include "cli/text.h"
#include "mend.h"

namespace {

using namespace cairn;

const std::vector<CheckpointInfo>& checkpoints() {
  static const std::vector<CheckpointInfo> list = [] {
    std::vector<CheckpointInfo> infos;
    const char* names[] = {"7", "epoch-3", "a b", "18446744073709551615", "ckpt-2", "best"};
    for (std::uint64_t id = 9; const char* name : names) {
      CheckpointInfo& info = infos.emplace_back();
      info.id = id--;
      info.name = name;
      info.sequence = id + 20;
      info.meta = {{"loss", 0.5 * static_cast<double>(id)}, {"step", id}, {"kind", "full"}};
    }
    return infos;
  }();
  return list;
}

template <typename Call>
void answer(const Call& call) {
  try {
    call();
  } catch (const cli::Failure& failure) {
    CAIRN_FUZZ_REQUIRE(cli::is_utf8(failure.what()));
    CAIRN_FUZZ_REQUIRE(std::string_view(failure.what()).find('\n') == std::string_view::npos);
  } catch (const Error& error) {
    CAIRN_FUZZ_REQUIRE(cli::is_utf8(cli::printable(error.what())));
  }
}

}  // namespace

CAIRN_FUZZ_MEND([](std::span<std::byte>) {});

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& word : words) {
    answer([&] {
      const CheckpointInfo found = cli::find_checkpoint(checkpoints(), word);
      CAIRN_FUZZ_REQUIRE(cli::find_checkpoint(checkpoints(), "id:" + std::to_string(found.id)).id ==
                         found.id);
    });
    answer([&] {
      const MetaValue value = cli::parse_meta_value(word);
      CAIRN_FUZZ_REQUIRE(value.depth() == 0);
      CAIRN_FUZZ_REQUIRE(cli::is_utf8(cli::value_text(value)));
    });
    const std::string shown = cli::printable(word);
    CAIRN_FUZZ_REQUIRE(cli::is_utf8(shown));
    CAIRN_FUZZ_REQUIRE(cli::display_width(cli::cut_to_width(shown, 20)) <= 20);
    cli::quote(word);
    cli::wrap(shown, 30);
  }
  answer([&] { cli::find_checkpoints(checkpoints(), words); });
  answer([&] { cli::parse_metadata(words); });
  return 0;
}
