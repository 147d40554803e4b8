/* Runs a SavedModel by TensorFlow's own C library: no Python operation can hide in it.
 *
 *   run_saved_model FOLDER FIXED_INPUT MOVING_INPUT OUTPUT I J K FIXED.raw MOVING.raw OUTPUT.raw
 *
 * The names are those of tensors, such as serving_default_fixed:0, without the ":0"; the last word of OUTPUT after
 * a colon is its index. Files hold float32 values of one volume, the last axis fastest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void check(TF_Status* status, const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

static TF_Tensor* read_volume(const char* path, const int64_t* dims) {
  size_t bytes = sizeof(float) * (size_t)(dims[1] * dims[2] * dims[3]);
  TF_Tensor* tensor = TF_AllocateTensor(TF_FLOAT, dims, 5, bytes);
  FILE* file = fopen(path, "rb");
  if (!file || fread(TF_TensorData(tensor), 1, bytes, file) != bytes) {
    fprintf(stderr, "%s: cannot be read\n", path);
    exit(1);
  }
  fclose(file);
  return tensor;
}

static TF_Output find(TF_Graph* graph, char* name) {
  char* colon = strchr(name, ':');
  TF_Output found = {NULL, colon ? atoi(colon + 1) : 0};
  if (colon) *colon = 0;
  found.oper = TF_GraphOperationByName(graph, name);
  if (!found.oper) {
    fprintf(stderr, "%s: no such operation\n", name);
    exit(1);
  }
  return found;
}

int main(int count, char** words) {
  if (count != 11) return 2;
  const char* tag = "serve";
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, words[1], &tag, 1, graph, NULL, status);
  check(status, "load");
  int64_t dims[5] = {1, atoll(words[5]), atoll(words[6]), atoll(words[7]), 1};
  TF_Output inputs[2] = {find(graph, words[2]), find(graph, words[3])};
  TF_Tensor* values[2] = {read_volume(words[8], dims), read_volume(words[9], dims)};
  TF_Output output = find(graph, words[4]);
  TF_Tensor* answer = NULL;
  TF_SessionRun(session, NULL, inputs, values, 2, &output, &answer, 1, NULL, 0, NULL, status);
  check(status, "run");
  FILE* file = fopen(words[10], "wb");
  if (!file || fwrite(TF_TensorData(answer), 1, TF_TensorByteSize(answer), file) != TF_TensorByteSize(answer)) return 1;
  fclose(file);
  printf("TensorFlow %s\n", TF_Version());
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  return 0;
}
