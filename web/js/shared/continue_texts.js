/**
 * What the server tells of clips that stories begin from, and of pictures that shots end with: as it
 * says it, and in Chinese. See notice_texts.js.
 */
export const CONTINUE_TEXTS = [
  // --- end images: nodes/loop/end_images.py, storymem/sampling/request.py, nodes/loop/references.py ---
  ["end_images is connected, but pass is stills: a single picture has no last frame, so they have no effect here",
    "“结束图组”已连接，但制作阶段是静帧：单张图片没有最后一帧，因此这里不起作用"],
  ["the script names end images, but pass is stills: a single picture has no last frame, so they have no effect here",
    "剧本指定了结束图，但制作阶段是静帧：单张图片没有最后一帧，因此这里不起作用"],
  ["end_images is connected, but its pictures are not used; connect shot to the shot of M2V Sampler",
    "“结束图组”已连接，但其中的图片没有被使用；请把“镜头”连接到 M2V 采样器的“镜头”"],
  ["the script names end images, but its pictures are not used; connect shot to the shot of M2V Sampler",
    "剧本指定了结束图，但这些图片没有被使用；请把“镜头”连接到 M2V 采样器的“镜头”"],
  ["{shot}: length is {length}, but a shot that ends with a picture (end_image) needs at least {least} frames: with {again} the last frame is the first; set length to {enough} or more, or take end_image away",
    "{shot}：长度为 {length} 帧，但以图片结束的镜头（end_image）至少需要 {least} 帧：否则最后一帧就是第一帧；请把长度设为 {least} 或更多，或去掉 end_image"],
  ["length is {length}, but a shot that ends with a picture (end_image) needs at least {least} frames: with {again} the last frame is the first; set length to {enough} or more, or take end_image away",
    "长度为 {length} 帧，但以图片结束的镜头（end_image）至少需要 {least} 帧：否则最后一帧就是第一帧；请把长度设为 {least} 或更多，或去掉 end_image"],
  ["{shot} ends with a picture (end_image), but the model of {node} is {file}, made from text alone: T2V models have no input for pictures; load Wan 2.2 I2V A14B, or take end_image away",
    "{shot}以图片结束（end_image），但 {node} 的模型是 {file}，只由文本生成：T2V 模型没有图片输入；请加载 Wan 2.2 I2V A14B，或去掉 end_image"],
  ["{shot} names the end image {file}, which is not in the input folder; put it there or correct the name",
    "{shot}指定的结束图 {file} 不在输入文件夹中；请放到那里，或改正名称"],
  ["{input} holds {images} pictures, but the story '{story}' has {count} shots; give one picture for each shot, in order, or connect nothing",
    "{input} 有 {images} 张图片，但故事“{story}”有 {count} 个镜头；请按顺序给每个镜头一张，或不连接"],
  // --- clips that stories begin from: storymem/loop/opening.py, opening_clip.py ---
  ["the clip that the story begins from has no effect: shot 1 does not continue from it, and it is neither remembered nor in the film; begin shot 1 with [continue] (and no start image), or take the clip away",
    "故事的开场片段不起作用：镜头 1 没有接续它，它既没有被记住，也不在影片中；请让镜头 1 以 [continue] 开始（且没有起始图），或去掉该片段"],
  ["the first shot of the story (scene {scene}) continues from a shot before it, but there is none: set its cut to true (plain text: remove [continue]), or give the clip that the story begins from to opening_frames",
    "故事的第一个镜头（第 {scene} 场）接续前一个镜头，但前面没有镜头；请把它的 cut 设为 true（纯文本：去掉 [continue]），或把故事由之开始的片段连接到“开场片段”（opening_frames）"],
  ["shot 1 continues from the last {count} frames of the clip that the story begins from, but opening_frames holds {frames}; give a longer clip, or choose last_frame",
    "镜头 1 接续故事开场片段的最后 {count} 帧，但“开场片段”只有 {frames}；请给一个更长的片段，或选择 last_frame"],
  ["opening_frames holds no frame; connect a clip, or nothing", "“开场片段”中没有帧；请连接一个片段，或不连接"],
];
