/** What is told of the LoRAs of single shots: as the server says it, and in Chinese; see notice_texts.js. */
export const LORA_NOTICES = [
  ["the script has LoRAs for {shots}, but no Apply Shot LoRAs is in the loop, so they have no effect; put it between the models and M2V Sampler, and connect its shot to this node's",
    "剧本为{shots}指定了 LoRA，但循环里没有“应用镜头 LoRA”，因此不起作用；请把它放在模型与“M2V 采样器”之间，并把它的镜头接到这个节点的镜头"],
  ["{input} does not come from Apply Shot LoRAs, so the {noise}-noise expert gets none of the LoRAs of {shots}; connect it through that node",
    "{input} 没有经过“应用镜头 LoRA”，因此{noise}噪专家得不到{shots}的 LoRA；请让它经过那个节点"],
  ["{file} is by its name for the {noise}-noise expert, but the script gives it to the {other}-noise one",
    "{file} 从文件名看用于{noise}噪专家，但剧本把它给了{other}噪专家"],
  ["of {name} there is only {file}, so the {noise}-noise expert gets nothing of it",
    "{name} 只有 {file} 一个文件，因此{noise}噪专家得不到它"],
  ["the LoRAs of {shots} cannot be applied: {because}", "无法应用{shots}的 LoRA：{because}"],
  ["there is no LoRA {name} in the loras folder; near it are {near}", "loras 文件夹里没有 LoRA {name}；名字相近的有 {near}"],
  ["there is no LoRA {name} in the loras folder", "loras 文件夹里没有 LoRA {name}"],
  ["{name} may be any of {files}; write which one, with its folder and its ending",
    "{name} 可能是以下任何一个：{files}；请写明是哪一个，连同文件夹和扩展名"],
  ["{file} is a StoryMem LoRA, which has a scale of its own: choose it on Load StoryMem LoRA, and set lora_strength of the shot",
    "{file} 是 StoryMem LoRA，有自己的缩放：请在“加载 StoryMem LoRA”中选择它，并在镜头中设置 lora_strength"],
  ["{file} cannot be used: it is {kind}; choose a LoRA made for Wan 2.2", "{file} 不能使用：它是 {kind}；请选择为 Wan 2.2 制作的 LoRA"],
];
export const LORA_TEXTS = {
  en: {
    "story.loras": "LoRAs",
    "story.loras.long": "LoRAs for this shot, with strengths: film_noir:0.8, rain. Needs Apply Shot LoRAs in the loop",
    "story.loras.add": "Add a LoRA",
    "story.loras.none": "no LoRA files found",
    "why.what.loras": "its LoRAs",
    "why.loras.place": "its LoRAs are applied at another place of the loop",
    "why.loras.file": "a file of its LoRAs changed",
  },
  zh: {
    "story.loras": "LoRA",
    "story.loras.long": "用于此镜头的 LoRA 及强度：film_noir:0.8, rain。循环里需要“应用镜头 LoRA”",
    "story.loras.add": "添加 LoRA",
    "story.loras.none": "没有找到 LoRA 文件",
    "why.what.loras": "它的 LoRA",
    "why.loras.place": "它的 LoRA 应用在循环的另一处",
    "why.loras.file": "它的 LoRA 文件变了",
  },
};
