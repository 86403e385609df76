// Holds what every command prints with --json against docs/json.md, both ways.
#include "cli/tool.h"
#include "support/states.h"

#include <cairn/store.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace cairn::testing {
namespace {

using json = nlohmann::ordered_json;

/// A section of the page: the fields of one kind of object.
struct Shape {
  std::string base{};  // whose fields it has besides
  bool is_array = false;
  std::map<std::string, std::string> fields{};  // name -> type
};

using Page = std::map<std::string, Shape>;  // "checkpoint", "cairn ls", ...

Page read_page() {
  Page page;
  std::istringstream lines(read_text(CAIRN_SOURCE_DIR "/docs/json.md"));
  const std::regex heading("## `?([^`]*)`?");
  const std::regex field(R"(\| `(\w+)` \| ([^|]+) \|.*)");
  const std::regex fields_of(".*Fields of a (\\w+),.*");
  Shape* shape = nullptr;
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, heading)) {
      shape = &page[match[1]];
    } else if (shape != nullptr && std::regex_match(line, match, field)) {
      EXPECT_TRUE(shape->fields.emplace(match[1], match[2]).second) << line;
    } else if (shape != nullptr) {
      if (line.starts_with("An array")) shape->is_array = true;
      if (std::regex_match(line, match, fields_of)) shape->base = match[1];
    }
  }
  page.erase("Without JSON");
  return page;
}

/// Compares values with the page, and remembers which fields it has seen.
class Comparison {
 public:
  explicit Comparison(Page page) : page_(std::move(page)) {}

  void document(const std::string& section, const json& value) {
    ASSERT_TRUE(page_.contains(section)) << section;
    EXPECT_EQ(value.is_array(), page_.at(section).is_array) << section;
    for (const json& one : value.is_array() ? value : json::array({value})) {
      EXPECT_EQ(one.begin().key(), "json_version") << one;
      object(section, one, section);
    }
  }

  /// Fields that the page tells of and no run has printed.
  std::set<std::string> unseen() const {
    std::set<std::string> names;
    for (const auto& [section, shape] : page_) {
      for (const auto& [name, type] : shape.fields) {
        if (!seen_.contains(section + "." + name)) names.insert(section + "." + name);
      }
    }
    return names;
  }

 private:
  void object(const std::string& section, const json& value, const std::string& where) {
    ASSERT_TRUE(value.is_object()) << where << ": " << value;
    for (const auto& [name, element] : value.items()) {
      const std::string in = where + "." + name;
      std::string owner = section;
      while (!owner.empty() && !page_.at(owner).fields.contains(name)) owner = page_.at(owner).base;
      ASSERT_FALSE(owner.empty()) << in << " is not in docs/json.md";
      seen_.insert(owner + "." + name);
      typed(page_.at(owner).fields.at(name), element, in);
    }
  }

  void typed(std::string type, const json& value, const std::string& where) {
    constexpr std::string_view kOrNull = " or null";
    if (type.ends_with(kOrNull)) {
      if (value.is_null()) return;
      type.resize(type.size() - kOrNull.size());
    }
    constexpr std::string_view kArrayOf = "array of ";
    if (type.starts_with(kArrayOf)) {
      ASSERT_TRUE(value.is_array()) << where << ": " << value;
      for (const json& one : value) typed(type.substr(kArrayOf.size()), one, where + "[]");
    } else if (type == "integer") {
      EXPECT_TRUE(value.is_number_integer()) << where << ": " << value;
    } else if (type == "number") {
      EXPECT_TRUE(value.is_number() || value == "NaN" || value == "Infinity") << where << value;
    } else if (type == "boolean") {
      EXPECT_TRUE(value.is_boolean()) << where << ": " << value;
    } else if (type == "string") {
      EXPECT_TRUE(value.is_string()) << where << ": " << value;
    } else if (type == "map") {
      EXPECT_TRUE(value.is_object()) << where << ": " << value;
    } else {
      ASSERT_TRUE(page_.contains(type)) << where << " has the unknown type " << type;
      object(type, value, where);
    }
  }

  Page page_;
  std::set<std::string> seen_;
};

class JsonPage : public ToolTest {
 protected:
  /// A run of the command that the section is of.
  void run(const std::string& section, std::vector<std::string> words, int code = 0) {
    words.insert(words.begin() + 1, "--json");
    const ToolResult result = cairn(words);
    EXPECT_EQ(result.code, code) << section << ": " << result.err;
    comparison_.document(section, json::parse(result.out));
  }
  /// The same, the section being called as the command.
  void run(std::vector<std::string> words, int code = 0) {
    const std::string section = "cairn " + words.front();
    run(section, std::move(words), code);
  }

  void fill() {
    Store store(store_);
    for (std::uint64_t step : {1, 2}) {
      auto state = model({tensor("large", pattern(step, 300'000)),
                          tensor(step == 1 ? "old" : "new", pattern(7, 100))});
      state[0].values.emplace("step", MetaValue(static_cast<std::int64_t>(step)));
      store.save(state, {.meta = {{"loss", 1.0 / static_cast<double>(step)}},
                         .name = "step-" + std::to_string(step)});
    }
  }

  void rot(const std::string& name) {
    std::uint64_t offset = 0;
    {
      const Store store(store_, {.read_only = true});
      const Checkpoint checkpoint = store.open(store.find_by_name(name)->id);
      offset = checkpoint.chunks(*checkpoint.find_tensor("model", "large")).front().pack_offset;
    }
    flip_byte(dir_ / "store/pack", offset);
  }

  Comparison comparison_{read_page()};
};

TEST_F(JsonPage, TellsOfEveryFieldThatIsPrintedAndOfNoOther) {
  const std::string file = dir_ / "out.safetensors";
  const std::string other = dir_ / "other";
  const std::string backup = dir_ / "backup";

  run("cairn --version", {"--version"});
  fill();
  run({"import", store_, safetensors(), "--name", "in", "--meta", "x=nan"});
  run({"import", store_, safetensors(), "--name", "in", "--replace", "--dry-run"});
  run({"import", store_, safetensors(), "--name", "in", "--replace"});
  run({"export", store_, "in", file});
  run({"ls", store_});
  run({"show", store_, "step-1", "--stats", "--chunks"});
  run({"diff", store_, "step-1", "step-2"});
  run({"pin", store_, "step-1"});
  run({"unpin", store_, "step-1"});
  run({"keep", store_, "--recent", "2", "--dry-run"});
  run({"verify", store_});
  run({"backup", store_, backup});
  run({"salvage", backup, dir_ / "salvaged"});
  run({"cp", store_, other, "step-1", "--dry-run"});
  run({"cp", store_, other, "step-1"});
  run({"import", other, safetensors(), "--name", "step-2"});
  run({"cp", store_, other, "step-2", "--replace"});
  run({"stat", store_});
  run({"compact", store_, "--dry-run"});
  run({"compact", store_});
  run({"rm", store_, "in"});
  run({"selftest", dir_.path().string(), "--quick", "--size", "4M"});
  run({"repair", store_, "--dry-run"});

  rot("step-1");
  rot("step-2");
  run({"verify", store_}, 3);
  run({"scrub", store_, "--once"}, 3);
  run({"show", store_, "step-1", "--stats"}, 3);
  run({"backup", store_, dir_ / "second"}, 3);
  run({"salvage", dir_ / "store/pack", dir_ / "lost"}, 3);
  run({"repair", store_, "--dry-run"}, 3);
  run({"repair", store_, "--drop-damaged"});

  EXPECT_EQ(comparison_.unseen(), (std::set<std::string>{"cairn cp --follow.json_version"}));
}

TEST_F(JsonPage, HasASectionForEveryCommandThatPrintsJson) {
  const Page page = read_page();
  for (const std::string& name : all_commands()) {
    const bool has_json = done({name, "--help"}).out.find("--json") != std::string::npos;
    EXPECT_EQ(page.contains("cairn " + name), has_json) << name;
  }
}

}  // namespace
}  // namespace cairn::testing
