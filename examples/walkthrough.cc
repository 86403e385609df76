// The features of the checkpointer one by one: says what it does, and checks what it says.
//
//   walkthrough DIRECTORY
//
// Each part makes a store of its own in DIRECTORY, which must be empty or new. The exit code is 1
// if anything that the program claims does not hold. docs/guide.md tells the same at more length.
#include <cairn/torch/checkpointer.h>
#include <cairn/torch/training.h>

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;
namespace nn = torch::nn;
using torch::Tensor;

// ---- telling and checking
// ------------------------------------------------------------------------

int failures = 0;

void chapter(std::string_view title) {
  std::cout << "\n" << title << "\n";
}

void claim(bool holds, std::string_view what) {
  std::cout << (holds ? "  holds: " : "  DOES NOT HOLD: ") << what << std::endl;
  if (!holds) ++failures;
}

// ---- a job to save
// -------------------------------------------------------------------------------

// One epoch of learning to add two numbers; the loss at its end.
double train_epoch(nn::Linear& model, torch::optim::Optimizer& optimizer) {
  Tensor loss;
  for (int step = 0; step < 20; ++step) {
    const Tensor x = torch::rand({32, 2});
    optimizer.zero_grad();
    loss = torch::mse_loss(model(x), x.sum(/*dim=*/1, /*keepdim=*/true));
    loss.backward();
    optimizer.step();
  }
  return loss.item<double>();
}

// What the "fast" and the "full" validation of five epochs found. Small numbers are good.
struct Validation {
  const char* kind;
  double loss;
};
constexpr Validation kValidations[] = {
    {"full", 0.9}, {"fast", 0.3}, {"full", 0.4}, {"fast", 0.2}, {"full", 0.5}};

bool is_full(const cairn::CheckpointInfo& checkpoint) {
  return checkpoint.meta.get("validation-type") == "full";
}

std::vector<std::string> names_of(const std::vector<cairn::CheckpointInfo>& checkpoints) {
  std::vector<std::string> names;
  for (const auto& checkpoint : checkpoints) names.push_back(checkpoint.name);
  return names;
}

// ---- the parts
// -----------------------------------------------------------------------------------

void register_and_resume(const fs::path& store) {
  chapter("Recoverables: register what makes up the job, one by one or as a map; save; resume");
  Tensor trained;
  {
    nn::Linear model(2, 1);
    torch::optim::Adam optimizer(model->parameters(), 0.05);
    cairn::EpochCounter epochs(10);
    cairn::Checkpointer checkpointer(store);
    checkpointer.add_recoverable("model", model);
    checkpointer.add_recoverables({{"optimizer", optimizer}, {"epochs", epochs}});
    claim(checkpointer.recoverables() == std::vector<std::string>{"epochs", "model", "optimizer"},
          "three objects are registered");
    claim(!checkpointer.recover_if_possible(), "a new store has nothing to resume from");
    for (const auto epoch : epochs) {
      train_epoch(model, optimizer);
      checkpointer.save_checkpoint();
      if (epoch == 4) break;  // As if the job had died here.
    }
    trained = model->weight.detach().clone();
  }
  // Another process, another day: the same objects, new.
  nn::Linear model(2, 1);
  torch::optim::Adam optimizer(model->parameters(), 0.05);
  cairn::EpochCounter epochs(10);
  cairn::Checkpointer checkpointer(store);
  checkpointer.add_recoverables({{"model", model}, {"optimizer", optimizer}, {"epochs", epochs}});
  const cairn::Recovery from = checkpointer.recover_if_possible();
  claim(from && from->name == "ckpt-4", "the job resumes from the newest checkpoint");
  claim(torch::equal(model->weight, trained), "the model has the weights that were saved");
  claim(optimizer.state().size() == 2, "the optimizer has its moments, for weight and bias");
  claim(*epochs.begin() == 5, "the next epoch is the fifth");
}

void save_with_metadata(const fs::path& store) {
  chapter("Metadata: save named values with a checkpoint; afterwards take the best by one of them");
  nn::Linear model(2, 1);
  torch::optim::Adam optimizer(model->parameters(), 0.05);
  cairn::Checkpointer checkpointer(store);
  checkpointer.add_recoverables({{"model", model}, {"optimizer", optimizer}});
  std::vector<Tensor> weights;
  for (const auto& [kind, loss] : kValidations) {
    train_epoch(model, optimizer);
    weights.push_back(model->weight.detach().clone());
    checkpointer.save_checkpoint(
        {.meta = {{"loss", loss}, {"validation-type", kind}, {"num-examples", 640}}});
  }
  const auto newest = checkpointer.find_checkpoint();
  claim(newest && newest->meta.get("loss") == 0.5 && newest->meta.get("num-examples") == 640,
        "numbers come back as numbers");
  claim(newest && newest->meta.get("validation-type") == "full", "text comes back as text");

  const cairn::Recovery best = checkpointer.recover_if_possible({.min_key = "loss"});
  claim(best && best->meta.get("loss") == 0.2, "the smallest loss of all is that of epoch 4");
  claim(torch::equal(model->weight, weights[3]), "the model has the weights of epoch 4");
}

void keep_two(const fs::path& store) {
  chapter("Keeping: of the fully validated checkpoints, keep two; leave the others alone");
  nn::Linear model(2, 1);
  cairn::Checkpointer checkpointer(store);
  checkpointer.add_recoverable("model", model);
  cairn::SaveAndKeepResult last;
  for (const auto& [kind, loss] : kValidations) {
    last = checkpointer.save_and_keep_only({.meta = {{"loss", loss}, {"validation-type", kind}}},
                                           {.num_to_keep = 2, .ckpt_predicate = is_full});
  }
  for (const auto& [checkpoint, rule] : last.kept) {
    std::cout << "  kept " << checkpoint.name << ": " << rule << "\n";
  }
  for (const auto& [checkpoint, rule] : last.deleted) {
    std::cout << "  deleted " << checkpoint.name << ": " << rule << "\n";
  }
  claim(names_of(checkpointer.find_checkpoints({.ckpt_predicate = is_full})) ==
            std::vector<std::string>{"ckpt-5", "ckpt-3"},
        "the two newest full ones are there, the first is gone");
  claim(checkpointer.list_checkpoints().size() == 4,
        "the two fast ones, which the predicate does not accept, are there as well");

  const auto plan = checkpointer.plan_delete_checkpoints(
      {.num_to_keep = 1, .keep_recent = false, .min_keys = {"loss"}});
  claim(plan.kept.size() == 1 && plan.kept[0].checkpoint.name == "ckpt-4" &&
            checkpointer.list_checkpoints().size() == 4,
        "a plan says what a rule would keep, and deletes nothing");
}

void find_and_transfer(const fs::path& store) {
  chapter("Finder: look into a run that goes on, and give its best parameters to a new model");
  nn::Sequential model(nn::Linear(2, 3), nn::Tanh(), nn::Linear(3, 1));
  cairn::Checkpointer job(store);
  job.add_recoverable("model", model);
  Tensor best_weight;
  for (const auto& [kind, loss] : kValidations) {
    for (Tensor& parameter : model->parameters()) torch::nn::init::normal_(parameter);
    if (loss == 0.4) best_weight = model->ptr<nn::LinearImpl>(0)->weight.detach().clone();
    job.save_checkpoint({.meta = {{"loss", loss}, {"validation-type", kind}}});
  }

  cairn::Checkpointer finder(store, {.read_only = true});  // Takes no lock; the job has it.
  const auto best = finder.find_checkpoint({.min_key = "loss", .ckpt_predicate = is_full});
  claim(best && best->name == "ckpt-3", "the best of the full ones is found while the job runs");

  // The first layer is the same, the head has another width.
  nn::Sequential classifier(nn::Linear(2, 3), nn::Tanh(), nn::Linear(3, 7));
  const auto report = cairn::parameter_transfer(*classifier, finder.open(*best), "model");
  claim(report.loaded == std::vector<std::string>{"0.bias", "0.weight"},
        "what fits by name and shape is taken over");
  claim(torch::equal(classifier->ptr<nn::LinearImpl>(0)->weight, best_weight),
        "the first layer has the weights of that checkpoint");
  claim(report.mismatched.size() == 2,
        "the report names the head's two tensors, which did not fit");
  for (const auto& line : report.mismatched) std::cout << "  not taken: " << line << "\n";
}

// A type that saves itself: any type with these two members can be registered.
struct Curriculum {
  std::int64_t sentence_length = 10;
  std::vector<std::string> finished = {};

  void save_state(cairn::StateWriter& writer) const {
    writer.value("sentence_length", sentence_length);
    writer.value("finished", cairn::MetaValue::List(finished.begin(), finished.end()));
  }

  // Checks first and changes nothing; the step that it returns runs when all objects agree.
  cairn::ApplyStep load_state(cairn::StateReader& reader) {
    Curriculum next;
    next.sentence_length = reader.value("sentence_length").as_int();
    for (const auto& name : reader.value("finished").as_list()) {
      next.finished.push_back(name.as_string());
    }
    return [this, next] { *this = next; };
  }
};

// A type of somebody else's, which cannot be given members.
struct Thermostat {
  double degrees = 20;
};

void save_own_types(const fs::path& store) {
  chapter("Own types: members that save and load, or hooks for what cannot have members");
  Curriculum curriculum;
  Thermostat thermostat;
  cairn::Checkpointer checkpointer(store);
  checkpointer.add_recoverable("curriculum", curriculum)
      .add_recoverable(
          "thermostat", thermostat,
          {.custom_load_hook = [&](cairn::StateReader& reader) -> cairn::ApplyStep {
             const double degrees = reader.value("degrees").as_double();
             return [&thermostat, degrees] { thermostat.degrees = degrees; };
           },
           .custom_save_hook =
               [&](cairn::StateWriter& writer) { writer.value("degrees", thermostat.degrees); }});
  curriculum.finished = {"letters", "words"};
  curriculum.sentence_length = 25;
  thermostat.degrees = 18.5;
  checkpointer.save_checkpoint();
  curriculum = {};
  thermostat = {};
  checkpointer.recover_if_possible();
  claim(curriculum.sentence_length == 25 &&
            curriculum.finished == std::vector<std::string>{"letters", "words"},
        "the type with members came back");
  claim(thermostat.degrees == 18.5, "the one with hooks came back");

  // A load is all or nothing: here the curriculum fits and the last object does not.
  std::string thermostat_setting = "warm";
  Curriculum other;
  cairn::Checkpointer stranger(store, {.read_only = true});
  stranger.add_recoverable("curriculum", other).add_recoverable("thermostat", thermostat_setting);
  bool refused = false;
  try {
    stranger.recover_if_possible();
  } catch (const cairn::Error& error) {
    refused = error.code() == cairn::ErrorCode::kMismatch;
    std::cout << "  " << error.what() << "\n";
  }
  claim(refused && other.finished.empty() && thermostat_setting == "warm",
        "where one object does not fit, none is changed");
}

void stop_early(const fs::path& store) {
  chapter("Early stopping: end when the metric no longer improves, and return to the best");
  nn::Linear model(2, 1);
  cairn::EpochCounter epochs(100);
  cairn::EarlyStopping stopping({.patience = 3});
  cairn::Checkpointer checkpointer(store);
  checkpointer.add_recoverables({{"model", model}, {"epochs", epochs}, {"stopping", stopping}});
  Tensor best_weight;
  for (const auto epoch : epochs) {
    torch::nn::init::normal_(model->weight);
    const double error_rate = epoch <= 4 ? 1.0 / static_cast<double>(epoch) : 0.3;
    if (stopping.update(error_rate)) best_weight = model->weight.detach().clone();
    checkpointer.save_and_keep_only({.meta = {{"error-rate", error_rate}}},
                                    {.min_keys = {"error-rate"}});
    if (stopping.should_stop()) break;
  }
  claim(epochs.current() == 7,
        "training ends after three epochs without improvement on the fourth");
  claim(checkpointer.list_checkpoints().size() == 2, "the newest and the best were kept");
  const auto best = checkpointer.find_checkpoint({.min_key = "error-rate"});
  checkpointer.load_checkpoint(*best, {.only = {"model"}});
  claim(torch::equal(model->weight, best_weight), "the model is that of the best epoch again");
  claim(epochs.current() == 7, "and nothing else went back");
}

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] == '-') {
    std::cerr << "usage: walkthrough DIRECTORY\n";
    return 2;
  }
  const fs::path directory = argv[1];
  try {
    torch::manual_seed(1);
    register_and_resume(directory / "resume");
    save_with_metadata(directory / "metadata");
    keep_two(directory / "keep");
    find_and_transfer(directory / "finder");
    save_own_types(directory / "types");
    stop_early(directory / "early");
  } catch (const std::exception& error) {
    std::cerr << "walkthrough: " << error.what() << std::endl;
    return 1;
  }
  std::cout << "\n"
            << (failures == 0 ? "All of it holds." : "Some of it does not hold.") << std::endl;
  return failures == 0 ? 0 : 1;
}
